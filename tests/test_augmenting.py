"""`augment` from a file to a file: only train grows, the split stays, and what was done is said of every row."""

import json

import pytest

import pocketlm
from pocketlm.augmenting import Augmentation, augment
from pocketlm.data.source import load
from pocketlm.data.splits import normal_text
from pocketlm.errors import OutputError, RecipeError
from pocketlm.job import Job
from pocketlm.pocket.format import read_pocket
from pocketlm.search import gains
from pocketlm.tasks.prepare import prepare


def written(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_slots_are_filled_anew_and_nothing_of_dev_or_test_comes_back(jsonl_file, tmp_path):
    path = tmp_path / "more.jsonl"
    result = augment(Augmentation(Job(str(jsonl_file)), ("slot-substitution", "noise"), output=str(path)))
    rows = written(path)
    before = prepare(Job(str(jsonl_file)))
    made = [row for row in rows if row["augmented"]]
    assert len(made) == result["new_rows"] > len(before.train)
    assert {row["split"] for row in made} == {"train"}
    held = {normal_text(one.text) for one in (*before.dev, *before.test)}
    assert not held & {normal_text(row["text"]) for row in rows if row["split"] == "train"}
    assert result["dropped"]["in dev or test"] > 0, "values put in place of others would make held-out rows again"
    assert sum(row["split"] == "test" for row in rows) == len(before.test)
    train = [row for row in rows if row["split"] == "train" and not row["augmented"]]
    for row in made:
        source = train[int(row["augmented"].split(":")[0].rsplit(" ", 1)[1]) - 1]
        assert row["intent"] == source["intent"]
        assert [tag for tag in row["slots"] if tag != "O"] == [tag for tag in source["slots"] if tag != "O"]
        assert " ".join(row["tokens"]) == row["text"]


def test_the_file_is_read_with_the_split_it_was_made_with(jsonl_file, tmp_path):
    path = tmp_path / "more.jsonl"
    augment(Augmentation(Job(str(jsonl_file)), ("noise",), output=str(path)))
    before, after = prepare(Job(str(jsonl_file))), prepare(Job(str(path)))
    assert (after.dev, after.test) == (before.dev, before.test)
    assert after.train[: len(before.train)] == before.train
    assert len(after.train) > len(before.train)
    assert "augmented" not in load(str(path)).splits["train"][0]


def test_the_same_seed_writes_the_same_file(csv_file, tmp_path):
    files = [tmp_path / f"{name}.csv" for name in "abc"]
    for path, seed in zip(files, (1, 1, 2), strict=True):
        job = Job(str(csv_file), text="text", label="category", seed=seed)
        augment(Augmentation(job, ("noise", "aeda"), output=str(path)))
    texts = [path.read_text("utf-8") for path in files]
    assert texts[0] == texts[1] != texts[2]
    with pytest.raises(OutputError, match="--force"):
        augment(Augmentation(job, ("noise",), output=str(files[0])))
    assert files[0].read_text("utf-8") == texts[0]


def test_spans_of_characters_are_written_as_such(tmp_path):
    names = ("Ada Lovelace", "Alan Turing", "Grace Hopper", "Wole Soyinka", "Chinua Achebe", "Ngugi", "Ama Ata Aidoo")
    rows = []
    for number, name in enumerate(names * 3):
        text = f"{name} wrote book {number} there"
        rows.append({"text": text, "entities": [{"start": 0, "end": len(name), "label": "PER"}]})
    data = tmp_path / "names.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    path = tmp_path / "more.jsonl"
    augment(Augmentation(Job(str(data), tags="entities"), ("slot-substitution",), output=str(path)))
    made = [row for row in written(path) if row["augmented"]]
    assert made
    for row in made:
        (span,) = row["entities"]
        assert row["text"][span["start"] : span["end"]] in names
        assert span["label"] == "PER"


def test_translations_keep_their_target(tmp_path):
    rows = [
        {"en": f"please bring number {n} to the market", "sw": f"tafadhali leta namba {n} sokoni"} for n in range(30)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    path = tmp_path / "more.jsonl"
    job = Job(str(data), source="en", target="sw", task="translation")
    augment(Augmentation(job, ("noise",), output=str(path)))
    said = {row["sw"]: row["en"] for row in rows}
    made = [row for row in written(path) if row["augmented"]]
    assert made and all(row["sw"] in said and row["en"] != said[row["sw"]] for row in made)


def test_gains_are_measured_and_only_methods_that_help_are_written(quick_gains, csv_file, tmp_path, monkeypatch):
    monkeypatch.setattr(gains.Gain, "helps", property(lambda self: self.method == "noise"))
    path = tmp_path / "more.jsonl"
    job = Job(str(csv_file), text="text", label="category")
    result = augment(Augmentation(job, ("all",), measure=True, output=str(path), seeds=1, folds=2))
    assert {one["method"] for one in result["gains"]} == {"aeda", "eda", "exchange", "mixup", "noise"}
    assert set(result["skipped"]) == {"orthography", "slot-substitution"}
    assert result["written"] == ["noise"]
    assert {row["augmented"].split(" ")[0] for row in written(path) if row["augmented"]} == {"noise"}
    json.dumps(result)


def test_a_teacher_judges_and_knows_words(csv_file, teacher_folder, tmp_path):
    path = tmp_path / "more.jsonl"
    job = Job(str(csv_file), text="text", label="category", teacher=str(teacher_folder))
    sure = augment(Augmentation(job, ("eda",), output=str(path), copies=1, confidence=1.0))
    assert sure["new_rows"] == 0
    assert sure["dropped"]["judge unsure"] > 0


def test_fit_learns_from_new_rows_and_says_so(csv_file, tmp_path):
    settings = {"max_size": "30kB", "label": "category", "text": "text"}
    result = pocketlm.fit(str(csv_file), augment="noise", output=str(tmp_path / "m.pocket"), **settings)
    about = result.data["data"]["augmentation"]
    assert about["new_rows"] > 50
    assert any("augmentation (noise)" in note for note in result.data["data"]["notes"])
    manifest = read_pocket(result.pocket).manifest
    assert manifest["provenance"]["augmentation"] == [{"method": "noise", "share": 0.15, "least": 4}]
    assert result.data["data"]["splits"]["train"]["rows"] == len(prepare(Job(str(csv_file), **settings)).train)


def test_fit_takes_only_methods_whose_gain_is_sure(quick_gains, csv_file, tmp_path, monkeypatch):
    monkeypatch.setattr(gains.Gain, "helps", property(lambda self: self.method == "aeda"))
    result = pocketlm.fit(
        str(csv_file), augment="auto", text="text", label="category", max_size="30kB", output=str(tmp_path / "m.pocket")
    )
    about = result.data["data"]["augmentation"]
    assert [one["method"] for one in about["methods"]] == ["aeda"]
    assert len(about["gains"]) == 5
    assert any("gains of n-grams held out" in note for note in result.data["data"]["notes"])


def test_fit_does_not_name_models(csv_file, tmp_path):
    with pytest.raises(RecipeError, match="pocketlm augment DATA --method masked-lm"):
        pocketlm.fit(
            str(csv_file), augment="masked-lm", text="text", label="category", output=str(tmp_path / "m.pocket")
        )


def test_mixup_trains_and_makes_no_rows(csv_file, tmp_path, quick_gains):
    job = Job(str(csv_file), text="text", label="category")
    with pytest.raises(RecipeError, match="mixup blends vectors of texts .* use fit DATA --augment mixup"):
        augment(Augmentation(job, ("mixup",), output=str(tmp_path / "m.csv")))
    assert not (tmp_path / "m.csv").exists()
    measured = augment(Augmentation(job, ("mixup",), measure=True, seeds=1, folds=2))
    assert [one["method"] for one in measured["gains"]] == ["mixup"]
    settings = {"text": "text", "label": "category", "max_size": "30kB"}
    result = pocketlm.fit(str(csv_file), augment="mixup", output=str(tmp_path / "m.pocket"), **settings)
    assert any("blended (mixup)" in note for note in result.data["data"]["notes"])
    manifest = read_pocket(result.pocket).manifest
    assert manifest["provenance"]["augmentation"] == [{"method": "mixup", "alpha": 0.4}]
