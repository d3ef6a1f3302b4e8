"""Text is streamed as it is written, and refused in one line."""

import asyncio
import json

import pytest
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from pocketlm.runtime.choose import Writing
from pocketlm.runtime.load import load
from pocketlm.serve.app import make_app


@pytest.fixture(scope="module")
def model(writer):
    return load(writer("gpt2")[2].path, threads=1)


@pytest.fixture(scope="module")
def client(model):
    return TestClient(make_app(model), raise_server_exceptions=False)


def test_lines_hold_the_pieces_of_the_text(client, model):
    answer = client.post("/generate", json={"text": "turn on", "max_tokens": 6, "temperature": 1.5, "seed": 2})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-ndjson"
    pieces = [json.loads(line)["text"] for line in answer.text.splitlines()]
    how = Writing(max_tokens=6, temperature=1.5, seed=2)
    assert pieces == list(model.generator.stream("turn on", how))
    stopped = client.post("/generate", json={"text": "turn on", "max_tokens": 6, "stop": pieces[0] or "x"})
    assert stopped.status_code == 200
    whole = client.post("/predict", json={"text": "turn on"}).json()
    assert whole["generated"] == model.generator.write(["turn on"])[0].text and whole["tokens"] > 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": "a"}, 'an object with "text"'),
        ({"text": "a", "heat": 1}, "unknown setting 'heat'; there is max_tokens, temperature"),
        ({"text": "a", "beams": 3}, "unknown setting 'beams'"),
        ({"text": "a", "top_p": "high"}, '"top_p" is a number'),
        ({"text": "a", "top_p": 0}, "top_p is over 0"),
        ({"text": "a", "stop": [1]}, '"stop" is a string or a list'),
        ({"text": "lamp " * 99}, "the prompt has"),
        ({"messages": [{"role": "user"}]}, '"messages" is a list'),
        ({"messages": [{"role": "user", "content": "a"}]}, "the Pocket has no chat template"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_line(client, body, said):
    answer = client.post("/generate", json=body)
    assert answer.status_code == 400 and said in answer.json()["error"]
    assert client.post("/generate", json={"text": "on", "max_tokens": 1}).status_code == 200  # the turn was given back


@pytest.mark.parametrize("heard", [0, 1, 2])  # messages: 0 goes before the first line is asked for
def test_a_reader_that_leaves_gives_the_turn_back(model, heard):
    from pocketlm.serve.writing import streamed

    sent = []

    async def send(message):
        if len(sent) == heard:
            raise OSError("the reader has gone")
        sent.append(message)

    async def receive():
        await asyncio.sleep(60)

    async def leave():
        turn = asyncio.Lock()
        answer = await streamed(model.generator, "turn on", Writing(max_tokens=9), turn)
        assert turn.locked()
        with pytest.raises(ClientDisconnect):
            await answer({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)
        return turn.locked()

    assert asyncio.run(leave()) is False and len(sent) == heard
