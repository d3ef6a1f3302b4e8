import pytest

from pocketlm.data.documents import PASSAGE, split_documents, stretches, without_passages
from pocketlm.errors import DataError


def passage(number):
    """Lines unlike all those of other numbers."""
    return " ".join(f"word{number * 1000 + place}" for place in range(15))


TEXT = "\n".join(passage(number) for number in range(100, 220))


def test_stretches_hold_all_of_a_text_and_are_cut_at_lines_where_there_are_some():
    parts = stretches(TEXT, 2_000)
    assert "\n".join(parts) == TEXT
    assert all(1_000 <= len(part) <= 2_000 for part in parts[:-1])
    assert stretches("a" * 50, 20) == ["a" * 20, "a" * 20, "a" * 10]
    assert stretches("one\n\ntwo", 100) == ["one\n\ntwo"]


def test_one_text_falls_into_splits_that_share_nothing(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, "utf-8")
    found = split_documents(str(tmp_path / "a.txt"), seed=3)
    every = [part for name in ("train", "dev", "test") for part in found.splits[name]]
    assert sorted("\n".join(every).split("\n")) == sorted(TEXT.split("\n"))
    assert len(found.splits["train"]) > 4 * len(found.splits["test"]) > 0
    assert found == split_documents(str(tmp_path / "a.txt"), seed=3)
    assert found.splits["test"] != split_documents(str(tmp_path / "a.txt"), seed=4).splits["test"]


def test_files_of_splits_stay_whole_and_what_they_share_leaves_training(tmp_path):
    lines = TEXT.split("\n")
    (tmp_path / "train.txt").write_text("\n\n".join(lines[:100]), "utf-8")
    (tmp_path / "dev.txt").write_text("\n".join(lines[100:110]), "utf-8")
    (tmp_path / "test.txt").write_text("\n".join([lines[7], *lines[110:]]), "utf-8")
    whole = split_documents(
        str(tmp_path / "train.txt"), str(tmp_path / "dev.txt"), str(tmp_path / "test.txt")
    )  # fmt: skip
    assert whole.splits["test"] == ["\n".join([lines[7], *lines[110:]])]
    assert lines[7] not in "\n".join(whole.splits["train"]) and lines[20] in "\n".join(whole.splits["train"])
    assert whole.notes == ("1 of 100 stretches of train share a passage with test and are left out of train",)
    assert split_documents(str(tmp_path)).splits == whole.splits


def test_test_text_that_is_all_of_the_training_text_is_told(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, "utf-8")
    with pytest.raises(
        DataError, match="stretches of train share a passage with test.*give a test text that train has not"
    ):
        split_documents(str(tmp_path / "a.txt"), test=str(tmp_path / "a.txt"))


def test_long_test_files_are_read_in_part(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT, "utf-8")
    (tmp_path / "b.txt").write_text("\n".join(passage(number) for number in range(300, 1_500)), "utf-8")
    found = split_documents(str(tmp_path / "a.txt"), test=str(tmp_path / "b.txt"))
    assert 100_000 < sum(map(len, found.splits["test"])) <= 128_000
    assert "spread evenly" in found.notes[0]


@pytest.mark.parametrize("shift", [0, 1, 57, PASSAGE - 1])
def test_a_common_passage_is_found_wherever_it_stands_and_less_is_none(shift):
    held = "x" * shift + TEXT[500:][:PASSAGE] + "y" * 300
    assert without_passages(["z" * 1000 + TEXT[500:][:PASSAGE]], [held], "train", "test")[0] == []
    assert without_passages([TEXT[500:][: PASSAGE - 1]], [held], "train", "test")[0] != []


def test_lines_of_a_table_are_texts(tmp_path):
    rows = "".join(f'{{"text": "{passage(number)}"}}\n' for number in range(20))
    (tmp_path / "a.jsonl").write_text(rows, "utf-8")
    found = split_documents(str(tmp_path / "a.jsonl"))
    assert sum(map(len, found.splits.values())) == 20
