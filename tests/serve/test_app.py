"""The service: the same answers as `pocketlm run`, one line for every refusal, room for others in a long request."""

import asyncio
import json
import threading

import pytest
from measure.made_pocket import make_pocket
from starlette.testclient import TestClient

import pocketlm
from pocketlm.runtime.load import Pocket
from pocketlm.serve.app import BATCH, LARGEST_BODY_BYTES, LINES, MOST_TEXTS, make_app

TEXTS = ["turn on the lamp", "taa zima ☀", ""]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return pocketlm.load(make_pocket(tmp_path_factory.mktemp("serve") / "t.pocket", tagging=True))


@pytest.fixture(scope="module")
def client(model):
    return TestClient(make_app(model), raise_server_exceptions=False)


def test_one_text_is_answered_with_its_fields(client, model):
    answer = client.post("/predict", json={"id": 7, "text": TEXTS[0]})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"id": 7, "text": TEXTS[0], **model.predict(TEXTS[0])}
    assert client.post("/predict", json=TEXTS[0]).json() == model.predict(TEXTS[0])
    tokens = TEXTS[0].split()
    assert client.post("/predict", json={"tokens": tokens}).json() == model.predict([tokens])[0]


def test_a_list_is_answered_in_order_over_several_batches(client, model):
    texts = [*TEXTS, ["turn", "off"]] * BATCH
    assert client.post("/predict", json={"texts": texts}).json() == model.predict(texts)
    assert client.post("/predict", json={"texts": []}).json() == []


def test_tags_alone_are_served_too(tmp_path):
    tagger = pocketlm.load(make_pocket(tmp_path / "t.pocket", tagging=True, intent=False))
    client = TestClient(make_app(tagger), raise_server_exceptions=False)
    answer = client.post("/predict", json={"id": 7, "tokens": ["taa", "zima", "☀"]}).json()
    assert answer == {"id": 7, **tagger.predict([["taa", "zima", "☀"]])[0]}
    assert set(answer) == {"id", "tokens", "tags", "entities"}
    assert client.post("/predict", json="").json() == {"tokens": [], "tags": [], "entities": []}
    assert client.get("/health").json() == {"status": "ok", "task": "tagging"}


@pytest.mark.parametrize("kind", LINES)
def test_lines_are_answered_by_lines(client, model, kind):
    body = f'{{"id": 1, "text": "{TEXTS[1]}"}}\r\n\n"{TEXTS[0]}"\nplain words'.encode()
    answer = client.post("/predict", content=body, headers={"content-type": f"{kind}; charset=utf-8"})
    said = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.status_code == 200
    assert said[0] == {"id": 1, "text": TEXTS[1], **model.predict(TEXTS[1])}
    assert said[1:] == model.predict([TEXTS[0], "plain words"])


def test_health_and_manifest(client, model):
    assert client.get("/health").json() == {"status": "ok", "task": "understanding"}
    assert client.get("/manifest").json() == {**model.manifest, "size_bytes": model.size_bytes}


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"", "application/json", 400, "the body is not JSON"),
        (b"{", "application/json", 400, "the body is not JSON"),
        (b"[" * 200_000, "application/json", 400, "the body is not JSON"),
        (b'{"text": NaN}', "application/json", 400, "NaN is no JSON"),
        (b'{"text": "\\ud800"}', "application/json", 400, "surrogates not allowed"),
        (b'{"text": "a\xff"}', "application/json", 400, "byte 11 of the body is not UTF-8"),
        (b"7", "application/json", 400, 'an object needs "text"'),
        (b'{"text": 7}', "application/json", 400, 'an object needs "text"'),
        (b'{"tokens": []}', "application/json", 400, 'an object needs "text"'),
        (b'{"texts": "a"}', "application/json", 400, '"texts" is a list'),
        (b'{"texts": ["a", 7]}', "application/json", 400, '"texts", item 2'),
        (b'{"texts": ["a", []]}', "application/json", 400, '"texts", item 2'),
        (b'{"texts": ["a"], "text": "a"}', "application/json", 400, "no other fields"),
        (b'"a"\n{"no": 1}', "application/x-ndjson", 400, "line 2"),
        (b"a", "text/plain", 415, "got text/plain"),
        (b"a", "", 415, "got none"),
        (b'"' + b"a" * LARGEST_BODY_BYTES + b'"', "application/json", 413, "1,000,000 bytes"),
        (b'"a"\n' * (MOST_TEXTS + 1), "application/x-ndjson", 413, "1,000 texts"),
    ],
)
def test_bad_requests_are_refused_in_one_line(client, body, kind, status, message):
    answer = client.post("/predict", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.text.count("\n") == 1
    assert message in answer.json()["error"]


def test_wrong_routes_and_methods_are_refused_as_json(client):
    assert client.get("/nothing").json() == {"error": "Not Found"}
    answer = client.get("/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"error": "Method Not Allowed"}


class Gated:
    """Stands in for a Pocket: calls wait for the gate, and it is noted how many run at once."""

    task, writes = "classification", False

    def __init__(self):
        self.gate = threading.Event()
        self.running = self.most = 0
        self.sizes, self.threads = [], set()

    def predict(self, texts, batch_size):
        self.running += 1
        self.most = max(self.most, self.running)
        self.threads.add(threading.get_ident())
        self.sizes.append(len(texts))
        assert self.gate.wait(30)
        self.running -= 1
        return [{"label": "x"} for _ in texts]


async def ask(app, path, value=None, stalls=False):
    """The status of one request, straight through ASGI."""
    body, said = json.dumps(value).encode(), []

    async def receive():
        if stalls:
            await asyncio.sleep(30)
        return {"type": "http.request", "body": body}

    async def send(message):
        said.append(message)

    scope = {
        "type": "http", "method": "POST" if value else "GET", "path": path, "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json")],
    }  # fmt: skip
    await app(scope, receive, send)
    return said[0]["status"]


def test_a_long_request_lets_others_pass_and_the_pocket_works_one_batch_at_a_time():
    gated = Gated()

    async def all_at_once():
        app = make_app(gated)
        long = asyncio.create_task(ask(app, "/predict", {"texts": ["a"] * BATCH * 4}))
        while not gated.sizes:
            await asyncio.sleep(0.001)
        short = asyncio.create_task(ask(app, "/predict", {"text": "b"}))
        assert await ask(app, "/health") == 200  # while the first batch is in its thread
        for _ in range(100):  # until the short request waits for its turn
            await asyncio.sleep(0)
        gated.gate.set()
        assert await short == 200
        assert not long.done()
        return await long

    assert asyncio.run(all_at_once()) == 200
    assert gated.sizes == [BATCH, 1, BATCH, BATCH, BATCH]
    assert gated.most == 1
    assert threading.get_ident() not in gated.threads


def test_a_body_that_does_not_come_is_not_waited_for(model, monkeypatch):
    monkeypatch.setattr("pocketlm.serve.app.BODY_SECONDS", 0.01)
    assert asyncio.run(ask(make_app(model), "/predict", {"text": "a"}, stalls=True)) == 408


def test_a_bug_is_told_to_the_client_without_its_traceback(model):
    class Broken(Pocket):
        def __init__(self):
            pass

        def predict(self, texts, batch_size=32):
            raise RuntimeError("secret")

    answer = TestClient(make_app(Broken()), raise_server_exceptions=False).post("/predict", json="a")
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; the server's log says more"}
