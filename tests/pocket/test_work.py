"""Steps are found again by what they depend on, and one run at a time uses a folder."""

import json
import os

import pytest

from pocketlm.errors import UserError
from pocketlm.pocket.work import WorkFolder, digest


def test_step_is_done_only_when_finished(tmp_path):
    work = WorkFolder(tmp_path / "w")
    step = work.step("teacher", {"a": 1})
    assert step.result is None
    step.finish({"quality": 0.5})
    assert work.step("teacher", {"a": 1}).result == {"quality": 0.5}
    assert work.step("teacher", {"a": 2}).result is None


def test_half_written_result_is_no_result(tmp_path):
    step = WorkFolder(tmp_path).step("x", {})
    (step.folder / "result.json").write_text('{"quality": 0.')
    assert step.result is None


def test_digest_does_not_depend_on_order():
    assert digest({"a": 1, "b": [1, 2]}) == digest(json.loads('{"b": [1, 2], "a": 1}'))
    assert digest({"a": 1}) != digest({"a": 2})


def test_lock_keeps_others_out_and_is_released(tmp_path):
    work = WorkFolder(tmp_path)
    (tmp_path / "lock").write_text(str(os.getppid()))
    with pytest.raises(UserError, match="another run"), work.locked():
        pass
    (tmp_path / "lock").write_text("999999999")  # no such process: taken over
    with work.locked():
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert not (tmp_path / "lock").exists()
