"""Compress a language model by every recipe: compress_lm.py --models FOLDER --data FOLDER --out FILE.json

FOLDER of --models holds smollm2-135m, a Hugging Face folder of SmolLM2-135M-Instruct (Apache-2.0) with float16 weights.
FOLDER of --data holds wikitext2/test.raw.txt and wikitext2/valid.raw.txt (Merity et al. 2016, CC BY-SA).

Each recipe of recipes/ that is for this model runs in a process of its own, calibrated on the validation text as its
first lines say, is written as a folder, read again, and judged in float32 on the first 32,768 tokens of the test text
(context 1024), once. --only NAME,NAME runs some; --peers runs lm_peers.py first, in the same run. A recipe that says
"# after: NAME" goes on from the folder that NAME's recipe left in --work, with the original model as teacher; one that
says "# speed: TOKENS" is timed beside the original, taking turns, on texts of so many tokens and on writing as many.

--dev is for tuning: it calibrates on the first nine tenths of the validation text and judges on the first 16,384 tokens
of the last tenth. --recipes FOLDER takes other recipes. Both leave the test text unread or are not for the page.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parent / "recipes"
PEERS = Path(__file__).parent / "lm_peers.py"
SEED = 0


def names(recipes: Path) -> list[str]:
    """Recipes of this benchmark: all but MiniLM's."""
    return sorted(path.stem for path in recipes.glob("*.yaml") if not path.stem.startswith("minilm"))


def texts(data: Path, work: Path, dev: bool) -> tuple[Path, Path, int]:
    """Files to calibrate on and to judge by, and how many tokens of the second."""
    from lm_peers import EVALUATION

    test, valid = (data / "wikitext2" / f"{name}.raw.txt" for name in ("test", "valid"))
    if not dev:
        return valid, test, EVALUATION["tokens"]
    whole, parts = valid.read_text("utf-8"), (work / "calibration.txt", work / "dev.txt")
    cut = len(whole) * 9 // 10
    for path, text in zip(parts, (whole[:cut], whole[cut:]), strict=True):
        path.write_text(text, "utf-8")
    return *parts, 16_384


def said(recipe: Path, name: str) -> str | None:
    """What the recipe's first lines say, such as "# windows: 64", or None."""
    found = re.search(rf"^# {name}: (\S+)$", recipe.read_text("utf-8"), re.M)
    return found[1] if found else None


def one(recipe: Path, models: Path, data: Path, work: Path, dev: bool) -> dict[str, Any]:
    """Compress by one recipe in this process, and judge the folder that was written."""
    from lm_peers import MODEL, first_tokens, perplexity

    from pocketlm.compress.calibration import read_calibration
    from pocketlm.compress.context import Context
    from pocketlm.measure.probe import peak_memory
    from pocketlm.model.pretrained import load_model, save_model
    from pocketlm.recipe.compress import compress, read_recipe

    name, (calibrated_on, judged_by, tokens) = recipe.stem, texts(data, work, dev)
    teacher, after = load_model(models / MODEL), said(recipe, "after")
    model = load_model(work / after) if after else teacher
    windows, length = int(said(recipe, "windows") or 128), int(said(recipe, "length") or 512)
    calibration = read_calibration(calibrated_on, model, windows, length, seed=SEED)
    began = time.perf_counter()
    made = compress(model, read_recipe(recipe), Context(calibration, teacher, seed=SEED))
    seconds, memory = time.perf_counter() - began, peak_memory()
    size = save_model(made, work / name, force=True)
    test, module = first_tokens(models / MODEL, judged_by, tokens), load_model(work / name).module
    found, length_timed = perplexity(module, test), int(said(recipe, "speed") or 0)
    speed = speeds(module, load_model(models / MODEL).module, test[:length_timed]) if length_timed else {}
    return {
        "name": name, "split": "dev" if dev else "test", **({"after": after} if after else {}),
        **({"tokens_per_second": speed} if speed else {}),
        "file_bytes": size, "perplexity": found, "seconds": seconds, "peak_memory_bytes": memory,
        "windows": windows, "length": length, "parameters": made.records[-1]["parameters"],
        "notes": [note for record in made.records for note in record["notes"]],
        "load": round(os.getloadavg()[0], 1), "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def speeds(module: Any, original: Any, ids: Any, rounds: int = 5) -> dict[str, list[float]]:
    """Tokens a second of reading ids (tokens,) at once and of writing as many one by one: this model's, the original's.

    Medians of float32 passes, the two models taking turns.
    """
    import torch

    def seconds(model: Any, write: bool) -> float:
        began = time.perf_counter()
        with torch.inference_mode():
            if write:
                model.generate(ids[None, :1], min_new_tokens=len(ids), max_new_tokens=len(ids), do_sample=False)
            else:
                model(ids[None])
        return time.perf_counter() - began

    found = {}
    for name, write in (("reading", False), ("writing", True)):
        taken: list[list[float]] = [[], []]
        for _ in range(rounds + 1):
            for place, model in enumerate((module, original)):
                taken[place].append(seconds(model, write))
        found[name] = [len(ids) / sorted(one[1:])[rounds // 2] for one in taken]  # the first is to warm up
    return found


def keep(path: Path, row: dict[str, Any]) -> None:
    """Put a row into the results, in the place of an older one of its name."""
    from lm_peers import EVALUATION

    from pocketlm.measure.machine import describe

    results = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    machine = {name: one for name, one in describe().items() if name != "versions"}
    results.setdefault("ours", {})[row["name"]] = {**row, "machine": machine}
    packages = ("torch", "transformers", "safetensors", "numpy")
    results |= {"evaluation": EVALUATION, "seed": SEED}
    results["versions"] = {**results.get("versions", {}), **{name: version(name) for name in packages}}
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(results, indent=1), "utf-8")
    aside.replace(path)


def main() -> int:
    """Run what was asked for, each in a fresh process; a recipe that fails is told and the others go on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", help="recipes, joined by commas")
    parser.add_argument("--peers", action="store_true", help="run the peers first, in this run")
    parser.add_argument("--work", type=Path, help="folder for the compressed models; a temporary one without")
    parser.add_argument("--dev", action="store_true", help="judge on a part of the validation text, for tuning")
    parser.add_argument("--recipes", type=Path, default=RECIPES, help="folder of recipes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    where = ["--models", str(options.models), "--data", str(options.data), "--out", str(options.out)]
    if options.one:
        row = one(options.recipes / f"{options.one}.yaml", options.models, options.data, options.work, options.dev)
        keep(options.out, row)
        print(f"{row['name']}: {row['file_bytes'] / 1e6:.1f} MB, perplexity {row['perplexity']:.2f}, "
              f"{row['seconds']:.0f} s, {row['peak_memory_bytes'] / 1e9:.2f} GB", flush=True)  # fmt: skip
        return 0
    chosen, failed = options.only.split(",") if options.only else names(options.recipes), 0
    if options.peers:
        failed += subprocess.run([sys.executable, str(PEERS), *where], check=False).returncode != 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in chosen:
            more = ["--work", str(options.work or temporary), "--recipes", str(options.recipes), "--one", name]
            command = [sys.executable, __file__, *where, *more, *(["--dev"] if options.dev else [])]
            if subprocess.run(command, check=False).returncode:
                print(f"{name}: failed", flush=True)
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
