"""A Pocket to measure."""

import pytest
from measure.made_pocket import make_pocket


@pytest.fixture(scope="session")
def pocket(tmp_path_factory):
    return make_pocket(tmp_path_factory.mktemp("made") / "m.pocket")


@pytest.fixture(scope="session")
def tagger(tmp_path_factory):
    return make_pocket(tmp_path_factory.mktemp("made") / "t.pocket", tagging=True)
