"""The benchmark in low-resource languages: what is held out, and intervals of gains."""

import pytest
from low_resource import SETS, judged, peer, read, rows_of, table


@pytest.fixture
def folder(tmp_path):
    for split, count in (("train", 40), ("dev", 10)):
        lines = [f'{at}\t{("up", "down")[at % 2]}\t{split} {at} "said\n' for at in range(count)]
        (tmp_path / f"{split}.tsv").write_text("index_id\tcategory\ttext\n" + "".join(lines), "utf-8")
    return tmp_path


def test_dev_holds_a_fifth_out_and_never_opens_test(folder):
    held = [rows_of(folder, SETS["sib200"], seed, True) for seed in range(5)]
    assert all(not set(train) & set(out) and not choose for train, choose, out in held)
    assert sorted(row for _, _, out in held for row in out) == sorted({row for train, _, _ in held for row in train})
    with pytest.raises(FileNotFoundError):
        rows_of(folder, SETS["sib200"], 0, False)


def test_quotes_are_text_where_a_set_has_no_quoting(folder):
    assert read(folder, SETS["sib200"], "dev")[1] == ('dev 1 "said', "down")


def test_a_gain_is_that_of_the_figures_with_an_interval_around_it():
    gold = ["a", "b"] * 50
    run = {"gold": gold, "said": gold[:90] + ["c"] * 10, "peer": gold[:80] + ["c"] * 20}
    found = judged(SETS["sib200"], [run, run])
    assert (found["ours"][0], found["peer"][0], found["gain"][0]) == (90, 80, 10)
    assert found["gain"][1] < 10 < found["gain"][2]
    assert judged(SETS["sib200"], [{**run, "said": run["peer"]}])["gain"] == [0, 0, 0]


def test_the_table_has_a_line_a_language_and_the_mean(monkeypatch):
    run = {"gold": ["a", "b"], "said": ["a", "b"], "peer": ["a", "a"], "size_bytes": 9e3, "p50_ms": 0.1, "seconds": 2}
    shown = table({"languages": {"sib200/x/5MB": [run], "sib200/y/5MB": [run]}})
    assert "sib200 | x | 5MB | 100.0 | 50.0 | +50.0" in shown
    assert "mean of 2 | 5MB | | | +50.00" in shown


def test_the_peer_learns_what_is_plain():
    said, _ = peer([("red lamp", "on"), ("dark room", "off")] * 5, ["red", "dark"])
    assert said == ["on", "off"]
