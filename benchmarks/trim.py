"""A multilingual encoder trimmed to one language, and the Pocket that keeps its quality: trim.py --data ... --out FILE

    python benchmarks/trim.py --data data --teacher models/me5-small --out benchmarks/results/trim.json

FOLDER holds sib200/ and, for more text of a language, the sets that low_resource.py names. Of each language: the bytes
of the encoder before and after `trim-vocabulary` on its text, whether outputs on covered test texts are equal to the
bit, macro F1 on test of the whole encoder fine-tuned, of the same trimmed, of the encoder trimmed and then fine-tuned,
and of the Pocket of a fit within --max-size and --max-latency (which learns from dev at the end, by which encoders
chose their epochs). Test rows are read once by each. What is done is kept in FILE; the same command goes on.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot import macro_f1
from low_resource import SETS, Rows, keep, ours, own_sentences, read, unlabelled
from tokenizers import Tokenizer

from pocketlm.compress.trim_vocabulary import TrimVocabulary
from pocketlm.job import Job
from pocketlm.measure.machine import describe
from pocketlm.model.encoder import load_pretrained, teacher_model
from pocketlm.model.pretrained import Model, folder_bytes, load_model, save_model
from pocketlm.model.task_model import TaskModel
from pocketlm.recipe.compress import compress
from pocketlm.recipe.recipe import Recipe
from pocketlm.runtime.inputs import PieceInputs
from pocketlm.tasks.prepare import Prepared, prepare
from pocketlm.train.teach import answers, fine_tune

# Seven languages of four scripts.
LANGUAGES = ("swh_Latn", "yor_Latn", "som_Latn", "quy_Latn", "amh_Ethi", "khm_Khmr", "npi_Deva")
LENGTH = 64
# Pieces kept at least, for words to come: with fewer than these the encoder is below 30 % of its bytes.
KEPT = 35_000


def kept_pieces(whole: Model, small: Model) -> list[int]:
    """The number each piece of the small tokenizer has in the whole one."""
    numbers, cut = whole.tokenizer.get_vocab(), small.tokenizer
    return [numbers[piece] for piece in cut.convert_ids_to_tokens(range(len(cut)))]


def trimmed(whole: Model, texts: list[str], folder: Path) -> tuple[Model, dict[str, Any]]:
    """The encoder trimmed to the texts, and the bytes of both."""
    lines = folder / "texts.txt"
    lines.write_text("".join(" ".join(text.split()) + "\n" for text in texts), "utf-8")
    small = compress(whole, Recipe((TrimVocabulary(text=(str(lines),), at_least=KEPT),)))
    sizes = []
    for name, model in (("whole", whole), ("small", small)):
        save_model(model, folder / name)
        sizes.append(folder_bytes(folder / name))
    return small, {"bytes": sizes[0], "bytes_trimmed": sizes[1], "share_of_bytes": sizes[1] / sizes[0]}


@torch.no_grad()
def equal_outputs(whole: Model, small: Model, texts: list[str]) -> dict[str, int]:
    """Texts whose pieces all stayed, and how many of these get the same last states to the bit."""
    places = kept_pieces(whole, small)
    covered = equal = 0
    for text in texts:
        old, new = (model.tokenizer(text, return_tensors="pt") for model in (whole, small))
        if [places[piece] for piece in new["input_ids"][0].tolist()] != old["input_ids"][0].tolist():
            continue
        covered += 1
        states = [model.module.eval()(**dict(cut))[0] for model, cut in ((whole, old), (small, new))]
        equal += torch.equal(*states)
    return {"texts": len(texts), "covered": covered, "equal": equal}


def with_fewer_words(model: TaskModel, whole: Model, small: Model) -> TaskModel:
    """The fine-tuned encoder with the pieces of the small one alone."""
    assert isinstance(model.inputs, PieceInputs)
    module: Any = copy.deepcopy(model.module)
    words = module.backbone.get_input_embeddings()
    words.weight = torch.nn.Parameter(words.weight.detach()[kept_pieces(whole, small)])
    tokenizer = Tokenizer.from_str(small.tokenizer.backend_tokenizer.to_str())
    inputs = PieceInputs(tokenizer, False, LENGTH, int(small.tokenizer.pad_token_id))
    return TaskModel(module, inputs, model.spec)


@dataclass(frozen=True)
class Lot:
    """What all figures of a language are taken with. own: sentences of the language. more: for a fit, of others too."""

    splits: dict[str, Rows]
    own: list[str]
    more: list[str]
    prepared: Prepared

    @property
    def texts(self) -> list[str]:
        """Of test."""
        return [text for text, _ in self.splits["test"]]

    def macro_f1(self, said: list[str]) -> float:
        """On test."""
        return macro_f1([label for _, label in self.splits["test"]], said)

    def f1_of(self, model: TaskModel) -> float:
        """On test, of a model."""
        return self.macro_f1([str(said["label"]) for said in answers(model, self.texts)])


def lot(given: argparse.Namespace, language: str, folder: Path) -> Lot:
    """The rows and the text of a language."""
    splits: dict[str, Rows] = {
        name: read(given.data / "sib200" / language, SETS["sib200"], name) for name in ("train", "dev", "test")
    }
    more = unlabelled(given.data, "sib200", language, given.unlabelled, 0, False)
    own = [text for text, _ in (*splits["train"], *splits["dev"])]
    own += own_sentences(given.data, "sib200", language, given.unlabelled, 0)
    for name in ("train", "dev"):
        lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in splits[name]]
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    prepared = prepare(Job(str(folder / "train.jsonl"), text="text", label="label", dev=str(folder / "dev.jsonl")))
    return Lot(splits, own, more, prepared)


def fine_tuned(teacher: str, given: Lot) -> TaskModel:
    """An encoder fine-tuned on train, its epoch chosen by dev."""
    torch.manual_seed(0)
    model = teacher_model(load_pretrained(teacher), given.prepared.outputs, LENGTH)
    fine_tune(model, given.prepared.train, given.prepared.dev, given.prepared.task, seed=0)
    return model


def run(given: argparse.Namespace, language: str, folder: Path) -> dict[str, Any]:
    """All figures of one language but that of the encoder fine-tuned after it was trimmed."""
    own = lot(given, language, folder)
    whole = load_model(Path(given.teacher))
    small, about = trimmed(whole, own.own, folder)
    about |= equal_outputs(whole, small, own.texts)
    began = time.monotonic()
    model = fine_tuned(given.teacher, own)
    about["fine_tuning_seconds"] = round(time.monotonic() - began)
    about["f1_fine_tuned"] = own.f1_of(model)
    about["f1_trimmed"] = own.f1_of(with_fewer_words(model, whole, small))
    limits = {"max_size": given.max_size, "max_latency": given.max_latency, "teacher": given.teacher, "seed": 0}
    fitted = ours(own.splits["train"], own.splits["dev"], {}, own.more, own.texts, limits, folder / "fit")
    f1 = own.macro_f1(fitted.pop("said"))
    about |= {"f1_pocket": f1, "kept": f1 / about["f1_fine_tuned"], **fitted}
    return {**about, "date": datetime.date.today().isoformat()}


def run_trimmed_first(given: argparse.Namespace, language: str, folder: Path) -> dict[str, float]:
    """Macro F1 of the encoder that was trimmed, and then fine-tuned."""
    own = lot(given, language, folder)
    trimmed(load_model(Path(given.teacher)), own.own, folder)
    return {"f1_trimmed_first": own.f1_of(fine_tuned(str(folder / "small"), own))}


def table(languages: dict[str, dict[str, Any]]) -> str:
    """A line a language."""
    head = (
        "language | bytes kept | equal of covered | fine-tuned | trimmed | trimmed first | Pocket | kept | kB | p50 µs"
    )
    lines = [head, "--- | " * 9 + "---"]
    for language, one in languages.items():
        names = ("f1_fine_tuned", "f1_trimmed", "f1_trimmed_first", "f1_pocket")
        f1 = [f"{100 * one[name]:.1f}" if name in one else "" for name in names]
        lines.append(
            f"{language} | {one['share_of_bytes']:.1%} | {one['equal']}/{one['covered']} | {' | '.join(f1)} | "
            f"{one['kept']:.1%} | {one['size_bytes'] / 1e3:.0f} | {1e3 * one['p50_ms']:.0f}"
        )
    for name, when in (("f1_trimmed", "after"), ("f1_trimmed_first", "before")):
        lost = [100 * (one["f1_fine_tuned"] - one[name]) for one in languages.values() if name in one]
        if lost:
            lines.append(f"F1 lost by trimming {when} fine-tuning: {np.mean(lost):.2f} points, at most {max(lost):.2f}")
    return "\n".join(lines)


def main() -> None:
    """Every language that is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--unlabelled", type=int, default=6_000, help="sentences of the language beside its rows")
    parser.add_argument("--max-size", default="12MB")
    parser.add_argument("--max-latency", default="2.5ms")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    done: dict[str, Any] = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    settings = {"teacher": Path(given.teacher).name, "unlabelled": given.unlabelled, "max_size": given.max_size,
                "max_latency": given.max_latency}  # fmt: skip
    done = done or {**settings, "machine": describe(), "languages": {}}
    if any(done[name] != value for name, value in settings.items()):
        parser.error(f"{given.out} holds figures of other settings; name another file")
    for language in given.languages:
        found = done["languages"].setdefault(language, {})
        for name, take in (("f1_pocket", run), ("f1_trimmed_first", run_trimmed_first)):
            if name not in found:
                with tempfile.TemporaryDirectory() as folder:
                    found |= take(given, language, Path(folder))
                keep(done, given.out)
        print(language, found, flush=True)
    print(table(done["languages"]))


if __name__ == "__main__":
    main()
