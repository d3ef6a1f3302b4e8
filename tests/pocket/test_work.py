"""Steps are found again by what they depend on, and one run at a time uses a folder."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocketlm.errors import OutputError, UserError
from pocketlm.pocket import work as room
from pocketlm.pocket.work import WorkFolder, digest

SOURCE = str(Path(room.__file__).parents[2])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def python(code, *arguments, **options):
    """A process of its own that knows the package."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": SOURCE, **options},
        text=True,
    )


def test_step_is_done_only_when_finished(tmp_path):
    work = WorkFolder(tmp_path / "deep" / "w")
    step = work.step("teacher", {"a": 1})
    assert step.result is None
    step.finish({"quality": 0.5})
    assert work.step("teacher", {"a": 1}).result == {"quality": 0.5}
    assert work.step("teacher", {"a": 2}).result is None
    assert work.step("student", {"a": 1}).result is None
    assert work.size_bytes == (step.folder / "result.json").stat().st_size


@pytest.mark.parametrize("content", [b'{"quality": 0.', b"", b"[1]", b"\xff", b"null"])
def test_half_written_result_is_no_result(tmp_path, content):
    step = WorkFolder(tmp_path).step("x", {})
    (step.folder / "result.json").write_bytes(content)
    assert step.result is None


def test_a_result_that_cannot_be_written_is_one_line_and_keeps_the_old_one(tmp_path, monkeypatch):
    step = WorkFolder(tmp_path).step("x", {})
    step.finish({"old": 1})

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        step.finish({"new": 2})
    assert step.result == {"old": 1}
    assert [file.name for file in step.folder.iterdir()] == ["result.json"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    work = WorkFolder(tmp_path / "file" / "w")
    with pytest.raises(OutputError, match="cannot be made"):
        work.step("x", {})
    with pytest.raises(OutputError, match="cannot be made"), work.locked():
        pass


@given(values)
def test_digest_is_of_the_value(value):
    assert digest(value) == digest(json.loads(json.dumps(value)))
    assert digest({"a": value, "b": 0}) == digest({"b": 0, "a": value})
    assert digest([value]) != digest([value, value])


def test_digest_is_the_same_in_every_process():
    code = "from pocketlm.pocket.work import digest; print(digest({'a': [1, 0.1, 'ä', None], 'b': True}))"
    said = {python(code, PYTHONHASHSEED=seed).communicate()[0].strip() for seed in ("1", "2")}
    assert said == {digest({"b": True, "a": [1, 0.1, "ä", None]})}


def test_digest_takes_paths_and_refuses_what_has_no_lasting_text():
    assert digest(PurePosixPath("a/b")) == digest("a/b")
    for value in ({"a"}, object()):
        with pytest.raises(TypeError, match="no canonical JSON"):
            digest({"key": value})


HOLD = """
import sys
from pathlib import Path
from pocketlm.pocket.work import WorkFolder
with WorkFolder(Path(sys.argv[1])).locked():
    print("mine", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_run(folder):
    with python(HOLD, folder) as process:
        assert process.stdout.readline() == "mine\n"
        try:
            yield process
        finally:
            process.kill()


def test_another_run_keeps_us_out_and_its_death_lets_us_in(tmp_path):
    work = WorkFolder(tmp_path)
    with other_run(tmp_path) as process:
        with pytest.raises(UserError, match=rf"another run \(process {process.pid}\)"), work.locked():
            pass
        process.kill()
        process.wait()
        with work.locked():
            assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_lock_file_left_behind_is_no_lock_whoever_has_its_number_now(tmp_path):
    (tmp_path / "lock").write_text(str(os.getppid()))
    with WorkFolder(tmp_path).locked():
        pass


def test_the_lock_holds_within_a_process_and_ends_with_its_block(tmp_path):
    work = WorkFolder(tmp_path)
    with work.locked(), pytest.raises(UserError, match="another run"), WorkFolder(tmp_path).locked():
        pass
    with pytest.raises(KeyboardInterrupt), work.locked():
        raise KeyboardInterrupt
    with work.locked():
        pass


def test_a_system_without_locks_warns_and_works(tmp_path, monkeypatch, caplog):
    def none(file, mode):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with WorkFolder(tmp_path).locked():
        assert "cannot be locked (No locks available)" in caplog.text


def test_a_lock_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(OutputError, match=r"lock: cannot be written"), WorkFolder(tmp_path).locked():
        pass


def test_a_folder_that_a_run_made_and_left_empty_goes_with_it(tmp_path):
    (tmp_path / "old").mkdir()
    for name, left in (("new", False), ("old", True)):
        with pytest.raises(ValueError, match="refused"), WorkFolder(tmp_path / name).locked():
            raise ValueError("refused")
        assert (tmp_path / name).exists() == left
    with WorkFolder(tmp_path / "used").locked():
        (tmp_path / "used" / "study.db").write_text("", "utf-8")
    assert sorted(one.name for one in (tmp_path / "used").iterdir()) == ["lock", "study.db"]
