"""Files are read exactly, and refused with their line."""

import json

import pytest

from pocketlm.data.read import LARGEST_ROW, iter_texts, read_rows
from pocketlm.data.source import load, write_rows
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
