"""A multilingual encoder trimmed to one language, and the Pocket that keeps its quality: trim.py --data ... --out FILE

    python benchmarks/trim.py --data data --teacher models/me5-small --out benchmarks/results/trim.json

FOLDER holds sib200/ and, for more text of a language, the sets that low_resource.py names. Of each language: the bytes
of the encoder before and after `trim-vocabulary` on its text, whether outputs on covered test texts are equal to the
bit, macro F1 on test of the whole encoder fine-tuned and of the same trimmed, and of the Pocket of a fit within
--max-size and --max-latency (which learns from dev at the end, by which the encoder chose its epoch). Test rows are
read once by each. What is done is kept in FILE; the same command goes on.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import tempfile
import time
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
from pocketlm.tasks.prepare import prepare
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


def run(given: argparse.Namespace, language: str, folder: Path) -> dict[str, Any]:
    """All figures of one language."""
    splits: dict[str, Rows] = {
        name: read(given.data / "sib200" / language, SETS["sib200"], name) for name in ("train", "dev", "test")
    }
    more = unlabelled(given.data, "sib200", language, given.unlabelled, 0, False)
    own = [text for text, _ in (*splits["train"], *splits["dev"])]
    own += own_sentences(given.data, "sib200", language, given.unlabelled, 0)
    texts, gold = [text for text, _ in splits["test"]], [label for _, label in splits["test"]]
    whole = load_model(Path(given.teacher))
    small, about = trimmed(whole, own, folder)
    about |= equal_outputs(whole, small, texts)
    for name in ("train", "dev"):
        lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in splits[name]]
        (folder / f"{name}.jsonl").write_text("".join(lines), "utf-8")
    prepared = prepare(Job(str(folder / "train.jsonl"), text="text", label="label", dev=str(folder / "dev.jsonl")))
    torch.manual_seed(0)
    model = teacher_model(load_pretrained(given.teacher), prepared.outputs, LENGTH)
    began = time.monotonic()
    fine_tune(model, prepared.train, prepared.dev, prepared.task, seed=0)
    about["fine_tuning_seconds"] = round(time.monotonic() - began)
    for name, one in (("f1_fine_tuned", model), ("f1_trimmed", with_fewer_words(model, whole, small))):
        about[name] = macro_f1(gold, [str(said["label"]) for said in answers(one, texts)])
    limits = {"max_size": given.max_size, "max_latency": given.max_latency, "teacher": given.teacher, "seed": 0}
    fitted = ours(splits["train"], splits["dev"], {}, more, texts, limits, folder / "fit")
    said = fitted.pop("said")
    about |= {"f1_pocket": macro_f1(gold, said), "kept": macro_f1(gold, said) / about["f1_fine_tuned"], **fitted}
    return {**about, "date": datetime.date.today().isoformat()}


def table(languages: dict[str, dict[str, Any]]) -> str:
    """A line a language."""
    lines = ["language | bytes kept | equal of covered | fine-tuned | trimmed | Pocket | kept | kB | p50 µs"]
    lines.append("--- | " * 8 + "---")
    for language, one in languages.items():
        f1 = [f"{100 * one[name]:.1f}" for name in ("f1_fine_tuned", "f1_trimmed", "f1_pocket")]
        lines.append(
            f"{language} | {one['share_of_bytes']:.1%} | {one['equal']}/{one['covered']} | {' | '.join(f1)} | "
            f"{one['kept']:.1%} | {one['size_bytes'] / 1e3:.0f} | {1e3 * one['p50_ms']:.0f}"
        )
    lost = [100 * (one["f1_fine_tuned"] - one["f1_trimmed"]) for one in languages.values()]
    lines.append(f"mean F1 lost by trimming: {np.mean(lost):.2f} points, at most {max(lost):.2f}")
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
    done = done or {"teacher": Path(given.teacher).name, "machine": describe(), "languages": {}}
    for language in given.languages:
        if language not in done["languages"]:
            with tempfile.TemporaryDirectory() as folder:
                done["languages"][language] = run(given, language, Path(folder))
            keep(done, given.out)
            print(language, {name: one for name, one in done["languages"][language].items()}, flush=True)
    print(table(done["languages"]))


if __name__ == "__main__":
    main()
