"""`pocketlm serve` as a process: it answers, stops with 0, and says in one line why it cannot start."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from measure.made_pocket import make_pocket

import pocketlm

MAIN = "from pocketlm.cli.main import main; main()"


@pytest.fixture(scope="module")
def pocket(tmp_path_factory):
    return make_pocket(tmp_path_factory.mktemp("serve") / "m.pocket")


def start(*arguments, code=MAIN):
    return subprocess.Popen(
        [sys.executable, "-c", code, "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "40"},
    )


def refused(*arguments, code=MAIN):
    process = start(*arguments, code=code)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_it_answers_until_ctrl_c_without_torch(pocket):
    code = f"import sys; sys.modules['torch'] = None\n{MAIN}"  # an import of torch would fail
    process = start(pocket, "--port", 0, code=code)
    try:
        said = process.stderr.readline()
        port = int(re.search(r"http://127\.0\.0\.1:(\d+)", said)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("POST", "/predict", json.dumps({"text": "hello"}), {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        assert answer == {"text": "hello", **pocketlm.load(pocket).predict("hello")}
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.wait()


def test_a_port_in_use_is_said_in_one_line(pocket):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1 port {port}" in refused(pocket, "--port", port)
    assert "cannot listen on nowhere.invalid" in refused(pocket, "--host", "nowhere.invalid")


def test_what_cannot_be_served_is_refused(pocket, tmp_path):
    assert "no such file" in refused(tmp_path / "none.pocket")
    assert "--port" in refused(pocket, "--port", 70000)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_the_install_command_is_said(pocket, package):
    code = f"import sys; sys.modules[{package!r}] = None\n{MAIN}"
    said = refused(pocket, code=code)
    assert package in said
    assert "pip install 'pocketlm[serve]'" in said
