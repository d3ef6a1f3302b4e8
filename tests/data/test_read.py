"""Files are read exactly, and refused with their line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketlm.data.read import LARGEST_ROW, read_rows
from pocketlm.data.source import load, write_rows
from pocketlm.data.texts import iter_texts
from pocketlm.errors import DataError, OutputError


def write(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_csv_keeps_text_exactly(tmp_path):
    path = write(tmp_path, "a.csv", '\ufefftext,label\n"a, ""b""\nc",x\n ọ\u0300 ,y\n')
    assert read_rows(path) == [{"text": 'a, "b"\nc', "label": "x"}, {"text": " ọ\u0300 ", "label": "y"}]


def test_tsv_with_and_without_quoting(tmp_path):
    plain = write(tmp_path, "a.tsv", 'text\tlabel\n"odd quote\tx\nit is 5" wide\ty\n')
    assert [row["text"] for row in read_rows(plain)] == ['"odd quote', 'it is 5" wide']
    quoted = write(tmp_path, "b.tsv", 'text\tlabel\n"two\tcells"\tx\n')
    assert read_rows(quoted) == [{"text": "two\tcells", "label": "x"}]


def test_json_lines_and_parquet(tmp_path):
    rows = [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": []}]
    lines = write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert read_rows(lines) == rows
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read_rows(tmp_path / "a.parquet") == rows


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "text,label\n", "has no rows"),
        ("a.csv", "text,label\na,b\nonly\n", "line 3 has 1 cells, the header has 2"),
        ("a.csv", b"text,label\nab\xffcd,x\n", r"byte 13 \(line 2\) is not UTF-8 \(0xff\)"),
        ("a.csv", "text,label\n" + "x" * 10_000_000 + ",y\n", "line 2 has 10,000,002 bytes"),
        ("a.csv", "text,text\na,b\n", "names a column twice"),
        ("a.csv", 'text,label\n"open,x\n', "is a quote missing"),
        ("a.jsonl", '{"text": 1}\n[1]\n', "line 2 is not an object"),
        ("a.jsonl", '{"text": 1}\n{"te\n', "line 2 is not JSON"),
        ("a.json", '{"text": 1}', "not a list of objects"),
        ("a.parquet", b"nonsense", "is not a Parquet file"),
        ("a.docx", b"x", "unknown ending '.docx'"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path, name, data, message):
    with pytest.raises(DataError, match=message) as error:
        read_rows(write(tmp_path, name, data))
    assert "\n" not in str(error.value)


def test_a_row_of_many_lines_is_bounded_too(tmp_path):
    path = write(tmp_path, "a.csv", 'text,label\n"' + ("x" * 1000 + "\n") * (LARGEST_ROW // 1000) + '",y\n')
    with pytest.raises(DataError, match="line"):
        read_rows(path)


def test_missing_file_names_a_near_one(tmp_path):
    write(tmp_path, "train.csv", "text,label\na,b\n")
    with pytest.raises(DataError, match="Did you mean 'train.csv'"):
        read_rows(tmp_path / "trian.csv")


def test_folders(tmp_path):
    for split in ("train", "valid", "test"):
        write(tmp_path, f"{split}.csv", f"text,label\n{split},x\n")
    assert {name: rows[0]["text"] for name, rows in load(str(tmp_path)).splits.items()} == {
        "train": "train",
        "dev": "valid",
        "test": "test",
    }


def test_line_aligned_folders(tmp_path):
    for name, text in (("seq.in", "turn on\n"), ("seq.out", "O B-x\n"), ("label", "on\n")):
        (tmp_path / "train").mkdir(exist_ok=True)
        write(tmp_path / "train", name, text)
    assert load(str(tmp_path)).splits["train"] == [{"tokens": ["turn", "on"], "slots": ["O", "B-x"], "intent": "on"}]


def test_saved_data_sets_with_class_names(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    made = datasets.Dataset.from_list([{"text": "a", "label": 1}, {"text": "b", "label": 0}], features=features)
    datasets.DatasetDict({"train": made, "validation": made}).save_to_disk(str(tmp_path / "d"))
    splits = load(str(tmp_path / "d")).splits
    assert set(splits) == {"train", "dev"}
    assert [row["label"] for row in splits["train"]] == ["yes", "no"]


def test_unlabelled_text(tmp_path):
    assert list(iter_texts(write(tmp_path, "u.txt", "one\n\n two\n"))) == ["one", " two"]


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv"])
def test_written_rows_read_back(tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    rows = [{"text": 'a "b", c', "label": "x"}]
    write_rows(rows, path, replace=False)
    assert read_rows(path) == rows
    with pytest.raises(OutputError, match="--force"):
        write_rows(rows, path, replace=False)


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from('\t\n",;|'), min_size=1, max_size=12)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv"])
@given(rows=st.lists(st.fixed_dictionaries({"text": TEXTS, "label": TEXTS}), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_writing_and_reading(tmp_path_factory, ending, rows):
    path = tmp_path_factory.mktemp("rows") / f"rows.{ending}"
    write_rows(rows, path, replace=False)
    assert read_rows(path) == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('text\tlabel\n"he said\tx\nbye"\ty\n', [('"he said', "x"), ('bye"', "y")]),
        ('text\tlabel\nsay """"hi"""" now\tx\n"a\ty\n', [('say """"hi"""" now', "x"), ('"a', "y")]),
        ('text\tlabel\n"say ""hi"""\tx\nplain\ty\n', [('say "hi"', "x"), ("plain", "y")]),
        ('text\tlabel\n"two\nlines"\tx\n', [("two\nlines", "x")]),
        ('"text"\t"label"\n"0"\t"\n\t"\n', [("0", "\n\t")]),
    ],
)
def test_tsv_quotes_are_judged_by_the_whole_file(tmp_path, text, rows):
    assert [(row["text"], row["label"]) for row in read_rows(write(tmp_path, "a.tsv", text))] == rows


def test_a_json_list_on_one_line_may_be_long_but_its_rows_may_not(tmp_path):
    rows = [{"text": "x" * 1000, "label": "a"}] * 1500
    assert read_rows(write(tmp_path, "a.json", json.dumps(rows))) == rows
    rows = [{"text": "short"}, {"text": "x" * (LARGEST_ROW + 1)}]
    with pytest.raises(DataError, match="row 2 has 1,000,001 characters"):
        read_rows(write(tmp_path, "b.json", json.dumps(rows)))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", '{"text": "a"}\n{"text": "b\\ud83d"}\n', "line 2 has half of a surrogate pair"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("a.json", '{"text": 1}\n{"text": 2}\n', "one object a line goes into .jsonl"),
        ("a.csv", "text;label\na;b\n", "the header is one cell, 'text;label'; separate cells by commas"),
        ("a.csv", b"\xef\xbb\xbftext,label\nab\xff,x\n", r"byte 16 \(line 2\)"),
    ],
)
def test_more_wrong_files_are_refused_in_one_line(tmp_path, name, data, message):
    with pytest.raises(DataError, match=message) as error:
        read_rows(write(tmp_path, name, data))
    assert "\n" not in str(error.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        read_rows(tmp_path)


def test_a_file_that_names_its_splits_keeps_them(tmp_path):
    rows = [{"text": "a", "label": "x", "split": "train"}, {"text": "b", "label": "x", "split": "valid"}]
    path = tmp_path / "all.jsonl"
    write_rows(rows, path, replace=False)
    source = load(str(path))
    assert source.splits == {"train": [{"text": "a", "label": "x"}], "dev": [{"text": "b", "label": "x"}]}
    assert source.notes == ("split as the column 'split' says",)
    write_rows(rows[1:], path, replace=True)
    assert load(str(path)).splits == {"train": rows[1:]}


def test_hidden_labels_of_a_saved_data_set_are_no_labels(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    train = datasets.Dataset.from_list([{"text": "a", "label": 1}, {"text": "b", "label": -1}], features=features)
    test = datasets.Dataset.from_list([{"text": "c", "label": -1}], features=features)
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path / "d"))
    source = load(str(tmp_path / "d"))
    assert [row["label"] for row in source.splits["train"]] == ["yes", None]
    assert "test" not in source.splits
    assert source.notes == ("test: left out, its column 'label' is hidden (-1 in all 1 rows)",)


def test_rows_of_different_columns_and_lists_are_written(tmp_path):
    rows = [{"text": "a"}, {"text": "b", "labels": ["x", "y"], "tokens": ["a", "b"]}]
    write_rows(rows, tmp_path / "a.csv", replace=False)
    assert read_rows(tmp_path / "a.csv")[1] == {"text": "b", "labels": "x|y", "tokens": "a b"}
    write_rows([], tmp_path / "b.csv", replace=False)
    with pytest.raises(DataError, match="has no header line"):
        read_rows(tmp_path / "b.csv")
