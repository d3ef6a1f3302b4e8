"""Pairs of texts in every form they come in: which side is which, splits without leaks, what is said of odd ones."""

import pytest

from pocketlm.data.columns import pair_columns
from pocketlm.data.examples import examples
from pocketlm.data.parallel import find_sides
from pocketlm.data.read import read_rows
from pocketlm.data.source import load
from pocketlm.errors import DataError
from pocketlm.job import Job
from pocketlm.tasks.prepare import prepare

TMX = """<?xml version="1.0" encoding="UTF-8"?>
<tmx version="1.4"><header srclang="sw" datatype="plaintext"/><body>
<tu><tuv xml:lang="en"><seg>Hello <bpt i="1">&lt;b&gt;</bpt>world<ept i="1">&lt;/b&gt;</ept>!</seg></tuv>
<tuv xml:lang="sw"><seg>Habari <hi>dunia</hi>!</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Water</seg></tuv><tuv xml:lang="sw"><seg>Maji</seg></tuv></tu>
</body></tmx>"""


def pairs(count=40):
    return [{"en": f"the number {place} is here", "sw": f"nambari {place} iko hapa"} for place in range(count)]


def write(path, rows, names=("en", "sw")):
    lines = ["\t".join(names), *("\t".join(row[name] for name in ("en", "sw")) for row in rows)]
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_tmx_gives_a_column_a_language_with_the_source_first(tmp_path):
    (tmp_path / "memory.tmx").write_text(TMX, "utf-8")
    rows = read_rows(tmp_path / "memory.tmx")
    assert rows == [{"sw": "Habari dunia!", "en": "Hello world!"}, {"sw": "Maji", "en": "Water"}]
    assert list(rows[0]) == ["sw", "en"]


def test_broken_tmx_is_refused_in_one_line(tmp_path):
    (tmp_path / "memory.tmx").write_text(TMX[:200], "utf-8")
    with pytest.raises(DataError, match=r"memory\.tmx: is not TMX"):
        read_rows(tmp_path / "memory.tmx")


def test_two_files_line_by_line(tmp_path):
    for name, text in (("train.en", "one\ntwo\n"), ("train.sw", "moja\r\nmbili\r\n")):
        (tmp_path / name).write_bytes(text.encode())
    wanted = [{"en": "one", "sw": "moja"}, {"en": "two", "sw": "mbili"}]
    assert load(f"{tmp_path}/train.en,{tmp_path}/train.sw").splits["train"] == wanted
    assert load(str(tmp_path)).splits["train"] == wanted


def test_files_of_unlike_length_are_refused(tmp_path):
    (tmp_path / "a.en").write_text("one\ntwo\n", "utf-8")
    (tmp_path / "a.sw").write_text("moja\n", "utf-8")
    with pytest.raises(DataError, match=r"a\.en has 2 lines and .*a\.sw has 1 lines"):
        load(f"{tmp_path}/a.en,{tmp_path}/a.sw")
    with pytest.raises(DataError, match="no such file"):
        load(f"{tmp_path}/a.en,{tmp_path}/b.sw")


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("en", "sw"), ("en", "sw")),
        (("eng_Latn", "swh_Latn"), ("eng_Latn", "swh_Latn")),
        (("target", "source"), ("source", "target")),
        (("src", "tgt"), ("src", "tgt")),
        (("text", "label"), None),
        (("tag", "pos"), None),
        (("en", "comment"), None),
    ],
)
def test_sides_are_found_by_their_names(names, wanted):
    rows = [dict(zip(names, row.values(), strict=True)) for row in pairs()]
    assert find_sides(rows, None, None, sure=False) == wanted


def test_labels_called_target_are_no_translations():
    rows = [{"source": f"a text of {place}", "target": ("good", "bad")[place % 2]} for place in range(40)]
    assert find_sides(rows, None, None, sure=False) is None
    assert find_sides(rows, None, None, sure=True) == ("source", "target")


def test_sides_that_are_named_need_no_names_that_say_it():
    rows = [{"question": row["en"], "answer": row["sw"], "other": "x"} for row in pairs()]
    assert find_sides(rows, "question", "answer", sure=False) == ("question", "answer")
    with pytest.raises(DataError, match="no column 'querstion'"):
        find_sides(rows, "querstion", "answer", sure=False)
    with pytest.raises(DataError, match="--source and --target"):
        find_sides([{"a": "x"}], None, None, sure=True)


def test_hub_rows_of_translations(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "1", "translation": {"en": "one", "sw": "moja"}}\n', "utf-8")
    assert load(str(tmp_path / "a.jsonl")).splits["train"] == [{"id": "1", "en": "one", "sw": "moja"}]


def test_an_empty_side_names_its_rows():
    rows = pairs(3)
    rows[1]["sw"] = " "
    columns = pair_columns(rows, None, None, sure=True)
    with pytest.raises(DataError, match="1 row without a target in column 'sw': row 2"):
        examples(rows, columns, "a.tsv")


def test_no_text_of_either_side_is_in_two_splits(tmp_path):
    rows = pairs(60) + [{"en": f"the number {place} is here", "sw": f"namba {place}"} for place in range(30)]
    prepared = prepare(Job(str(write(tmp_path / "a.tsv", rows))))
    assert prepared.task.name == "translation"
    assert "source from 'en'" in prepared.about["columns"]
    splits = (prepared.train, prepared.dev, prepared.test)
    assert sum(map(len, splits)) == len(rows)
    for side in ("text", "target"):
        texts = [{getattr(one, side) for one in split} for split in splits]
        assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])


def test_training_rows_that_share_a_target_with_test_leave(tmp_path):
    write(tmp_path / "a.tsv", pairs(40))
    write(tmp_path / "test.tsv", [{"en": "quite another text", "sw": "nambari 7 iko hapa"}])
    prepared = prepare(Job(str(tmp_path / "a.tsv"), test=str(tmp_path / "test.tsv")))
    assert "nambari 7 iko hapa" not in {one.target for one in (*prepared.train, *prepared.dev)}
    assert any("1 training row also in test" in note for note in prepared.about["notes"])


def test_odd_pairs_are_said(tmp_path):
    rows = [*pairs(40), {"en": "short one that is here", "sw": "ndefu " * 60}]
    rows.append({"en": "the very same on both sides", "sw": "the very same on both sides"})
    notes = " ".join(prepare(Job(str(write(tmp_path / "a.tsv", rows)))).about["notes"])
    assert "1 pair 4 times further apart in length than is usual" in notes
    assert "1 pair with one text on both sides" in notes


def test_a_task_that_the_rows_are_not_of_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text {place},{place % 2}\n" for place in range(30)), "utf-8")
    with pytest.raises(DataError, match="holds classification rows"):
        prepare(Job(str(path), task="tagging"))
