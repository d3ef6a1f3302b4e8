"""Every example runs and says what it promises."""

import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Small models train on one thread as fast as on many, and the suite runs several tests at once.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


def run(*words, folder, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_train_from_csv_then_stream(tmp_path):
    said = run(EXAMPLES / "01_train_from_csv.py", tmp_path, folder=tmp_path)
    assert "meets the budget" in said
    assert "'label': 'heat'" in said
    assert (tmp_path / "commands.pocket").stat().st_size <= 30_000
    assert (tmp_path / "commands.report.html").is_file()

    said = run(EXAMPLES / "03_batch_stdin.py", tmp_path / "commands.pocket", folder=tmp_path)
    assert [line.split()[:2] for line in said.splitlines()] == [["1", "heat"], ["2", "music"]]


@pytest.mark.slow
def test_intents_and_slots(tmp_path):
    said = run(EXAMPLES / "02_intents_and_slots.py", tmp_path, folder=tmp_path).splitlines()
    assert "meets the budget" in said[0]
    assert said[1] == "TurnOff"
    assert "room 'living room' 13 24" in said
    assert (tmp_path / "rooms.pocket").stat().st_size <= 40_000


@pytest.mark.slow
def test_job_file_with_a_flag_over_it(tmp_path):
    for name in ("job.yaml", "job.csv", "own_recipe.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    said = run("-m", "pocketlm.cli.main", "fit", "job.yaml", "--max-size", "18kB", "--json",
               "--compete", "own_recipe.yaml", folder=tmp_path)  # fmt: skip
    result = json.loads(said)
    assert result["status"] == "met"
    assert result["budget"]["max_size"] == 18_000
    assert (tmp_path / "job.pocket").stat().st_size <= 18_000
    own = next(one for one in result["candidates"] if one["name"] == "narrow n-grams")
    assert own["met"] and own["size_bytes"] <= 18_000


@pytest.mark.slow
def test_answer_questions(tmp_path, teacher_folder):
    said = run(EXAMPLES / "09_answer_questions.py", tmp_path, teacher_folder, folder=tmp_path).splitlines()
    assert "transformer" in said[0]
    assert "F1" in said[1]
    context = said[2]
    start, end, answer = said[3].split(" ", 2)
    assert context[int(start) : int(end)] == answer != ""
    assert (tmp_path / "rooms.pocket").stat().st_size <= 60_000


def test_the_jobs_csv_has_its_columns():
    with (EXAMPLES / "job.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"text", "topic"} == set(rows[0])
    assert len({row["topic"] for row in rows}) == 3


@pytest.mark.slow
def test_compress_a_model(tmp_path):
    size, *likeness = run(EXAMPLES / "04_compress_a_model.py", tmp_path, folder=tmp_path).splitlines()
    small, whole = (float(word) for word in size.split() if "." in word)
    assert small < whole / 7
    assert len(likeness) == 4
    assert all(float(line.split()[0]) > 0.95 for line in likeness)


@pytest.mark.slow
def test_one_language(tmp_path):
    *_, words, size, equal = run(EXAMPLES / "12_one_language.py", tmp_path, folder=tmp_path).splitlines()
    kept, whole = (int(word.replace(",", "")) for word in words.split(" pieces")[0].split(" of "))
    assert kept < whole / 10
    small, before = (float(word) for word in size.split() if "." in word)
    assert small < 0.6 * before
    assert equal == "True"


@pytest.mark.slow
def test_pretrain(understanding_rows, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(row["text"] for row in understanding_rows), "utf-8")
    *figures, written, encoder = run(EXAMPLES / "17_pretrain.py", "text.txt", tmp_path, folder=tmp_path).splitlines()
    assert {line.split(":")[0] for line in figures} == {"model", "byte n-grams", "lzma"}
    assert written.startswith("turn on the")
    assert encoder.endswith("pseudo-likelihood bits per byte")


@pytest.mark.slow
def test_write_text(family_folder, tmp_path):
    said = run(EXAMPLES / "05_write_text.py", family_folder("llama"), tmp_path, "turn on the", folder=tmp_path)
    size, first, second = said.split("\n", 2)
    assert "bits a weight" in size and (tmp_path / "model.pocket").is_file()
    assert first.strip() and second.strip() and first.strip() != second.strip()


@pytest.mark.slow
def test_small_language_model(family_folder, understanding_rows, tmp_path):
    drawn = random.Random(0)
    lines = [" ".join(one["text"] for one in drawn.sample(understanding_rows, 5)) for _ in range(80)]
    (tmp_path / "text.txt").write_text("\n".join(lines), "utf-8")
    words = (tmp_path / "text.txt", family_folder("gpt2"), tmp_path, "18kB")
    said = run(EXAMPLES / "10_small_language_model.py", *words, folder=tmp_path).splitlines()
    assert "meets the budget" in said[0] and "perplexity" in said[0]
    assert "bits a byte from the teacher" in said[1]
    assert (tmp_path / "small.pocket").stat().st_size <= 18_000


@pytest.mark.slow
def test_translate(tmp_path):
    verdict, said = run(EXAMPLES / "06_translate.py", tmp_path, folder=tmp_path).splitlines()
    assert "meets the budget" in verdict
    assert "chrf++" in verdict
    assert set(said.split()) <= {"sifuri", "moja", "mbili", "tatu", "nne", "tano", "sita", "saba", "nane", "tisa"}
    assert (tmp_path / "numbers.pocket").stat().st_size <= 2_000_000


@pytest.mark.slow
def test_similar_texts(tmp_path):
    verdict, near, far, found = run(EXAMPLES / "07_similar_texts.py", tmp_path, folder=tmp_path).splitlines()
    assert "spearman" in verdict
    assert float(near) > float(far)
    assert "password" in found
    assert (tmp_path / "alike.pocket").stat().st_size <= 300_000


@pytest.mark.slow
def test_keras_to_litert(tmp_path):
    said = run(EXAMPLES / "08_keras_to_litert.py", tmp_path, folder=tmp_path, EPOCHS="3", STEPS="60")
    rows = {line[:14].strip(): line[14:].split() for line in said.splitlines()[1:]}
    assert list(rows) == ["float32", "8 bits after", "2 bits after", "2 bits during"]
    accuracy = {name: float(row[0]) for name, row in rows.items()}
    size = {name: int(row[3].replace(",", "")) for name, row in rows.items()}
    assert abs(accuracy["8 bits after"] - accuracy["float32"]) < 0.02
    assert accuracy["2 bits during"] > accuracy["2 bits after"]
    assert size["2 bits during"] < 0.7 * size["8 bits after"] < 0.2 * size["float32"]
    assert (tmp_path / "small" / "model.safetensors").is_file()


@pytest.mark.slow
def test_augment_rows(tmp_path):
    metric, *gains, note = run(EXAMPLES / "11_augment_rows.py", tmp_path, folder=tmp_path).splitlines()
    assert metric.startswith("frame_accuracy 0.")
    assert [line.split()[0] for line in gains] == ["slot-substitution", "noise"]
    assert note.startswith("slot-substitution of row ")
    assert (tmp_path / "more.jsonl").is_file()


@pytest.mark.slow
def test_few_rows(tmp_path):
    order, talk, figures = run(EXAMPLES / "13_few_rows.py", tmp_path, folder=tmp_path).splitlines()
    assert order == "switch on the lamp in the office -> on"
    assert talk == "who sold you that radio for the hall -> None"
    answered, right = (int(found) for found in re.findall(r"(\d+)%", figures))
    assert 30 <= answered <= 60, "half of the rows are out of scope"
    assert right >= 90


def test_label_rows(tmp_path):
    held, counts = run(EXAMPLES / "14_label_rows.py", tmp_path, folder=tmp_path).splitlines()
    assert "held-out rows: " in held and float(held.split()[3]) > 0.7
    assert counts.startswith("{'light': ")
    assert (tmp_path / "labels.jsonl").read_text("utf-8").count('"split": "test"') >= 10


def test_check_rows(tmp_path):
    said = run(EXAMPLES / "15_check_rows.py", tmp_path, folder=tmp_path).splitlines()
    assert any(line.startswith("error: test: capital letters in 0.0%") for line in said)
    assert any(line.startswith("error: test: 24 rows (100.0%) almost as a row of train") for line in said)
    assert "error: labels that differ in case, spaces or signs alone: 'on' and 'On' (train row 8)" in said
    assert any("speak against" in line and line.endswith("(train row 6)") for line in said)
    assert said[-1] == "120 rows left; {'labels respelled': 1}"


def test_a_few_rows_and_other_languages(tmp_path):
    said = run(EXAMPLES / "16_a_few_rows_and_other_languages.py", tmp_path, folder=tmp_path).splitlines()
    assert [line.split(":")[0] for line in said[:2]] == ["50 rows alone", "beside Dutch"]
    assert all("of 144 test sentences wholly right" in line for line in said[:2])  # both are judged by the same rows
    assert said[-1].startswith("mixed at temperature 5: smart-home:af")
