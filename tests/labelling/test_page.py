"""The page: the same session by HTTP, and nothing of it for anyone else."""

import re

import pytest
from starlette.testclient import TestClient

from pocketlm.labelling.page import make_page, page_text

TOKEN = "t0ken"


@pytest.fixture
def session(opened):
    return opened(labels=("card", "rate"))


@pytest.fixture
def client(session):
    return TestClient(make_page(session, TOKEN, 8123), base_url="http://127.0.0.1:8123", headers={"x-token": TOKEN})


def test_labelling_from_the_first_row_to_the_curve(client, session, gold):
    state = client.get("/state").json()
    assert state["labels"] == ["card", "rate"] and state["curve"] is None
    for _ in range(40):
        text = state["row"]["text"]
        state = client.post("/act", json={"do": "label", "label": gold[text], "text": text}).json()
    assert state["trained"] + state["held_out"] == 40 == len(session.ledger.entries)
    assert state["labels"] == ["card", "rate", "باقة"]
    assert state["curve"].startswith("<svg") and "held-out rows" in state["curve"]
    before = state["row"]["text"]
    undone = client.post("/act", json={"do": "undo"}).json()
    assert undone["row"]["text"] == text != before
    assert client.post("/act", json={"do": "skip", "text": text}).json()["row"]["text"] == before
    assert client.post("/act", json={"do": "unsure", "text": before}).json()["row"]["text"] not in (text, before)


def test_an_answer_sent_twice_counts_once(client, session):
    text = client.get("/state").json()["row"]["text"]
    for _ in range(2):
        client.post("/act", json={"do": "label", "label": "card", "text": text})
    assert len(session.ledger.entries) == 1


def test_others_are_refused(session, client):
    assert client.get("/state", headers={"x-token": "guess"}).status_code == 403
    assert client.post("/act", json={"do": "undo"}, headers={"x-token": ""}).status_code == 403
    # a name that a hostile site made lead to this machine
    for path in ("/", "/state"):
        assert client.get(path, headers={"host": "evil.example:8123"}).status_code == 403
    # what a form of another site can send without asking first
    form = client.post("/act", content='{"do": "undo"}', headers={"content-type": "text/plain"})
    assert form.status_code == 415
    assert client.post("/act", json={"do": "drop"}).status_code in (200, 400)
    assert client.post("/act", json=[1]).status_code == 400
    assert not session.ledger.entries


def test_the_page_needs_no_network_and_runs_its_own_script_alone(client):
    answer = client.get("/")
    assert answer.status_code == 200 and answer.headers["x-frame-options"] == "DENY"
    text = answer.text
    assert text == page_text()
    assert not re.findall(r"https?://", text)
    assert "script-src 'sha256-" in text and "default-src 'none'" in text
    assert 'dir="auto"' in text and "width=device-width" in text and "$" not in re.sub(r"\$\{|\$/", "", text)
