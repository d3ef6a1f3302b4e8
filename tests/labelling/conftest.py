"""A file to label, and sessions on it."""

import json

import pytest
from labelling.made_rows import made_rows
from measure.made_pocket import make_pocket

from pocketlm.labelling.session import Plan
from pocketlm.labelling.start import Wish, open_session


@pytest.fixture(scope="session")
def gold():
    return dict(made_rows(120))


@pytest.fixture
def texts_file(gold, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(gold) + "\n", "utf-8")
    return path


@pytest.fixture
def opened(texts_file, tmp_path):
    def make(**settings):
        plan = Plan(
            **{name: settings.pop(name) for name in ("batch", "held_out", "strategy", "seed") if name in settings}
        )
        return open_session(Wish(str(texts_file), str(tmp_path / "labels.jsonl"), plan=plan, **settings))

    return make


@pytest.fixture
def lines(tmp_path):
    def read():
        return [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text("utf-8").splitlines()]

    return read


@pytest.fixture
def made_classifier(tmp_path):
    return make_pocket(tmp_path / "model.pocket")
