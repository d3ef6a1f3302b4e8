"""A Pocket that writes as `fit` hands it over: what it says of where it came from and how good it is on test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pocketlm.job import Job
from pocketlm.pocket.format import read_pocket, write_pocket
from pocketlm.report.commands import sample_words
from pocketlm.tasks.prepare import Prepared
from pocketlm.tasks.scores import Scores


def staged(
    path: Path, job: Job, prepared: Prepared, made: str, teacher: Mapping[str, str], dev: Mapping[str, float],
    scores: Scores,
) -> Path:  # fmt: skip
    """The Pocket at `path` with its story and figures inside, beside it, as it will be written.

    made: what it is. teacher: its name and hash. The same data, teacher and weights give the same bytes wherever they
    lie.
    """
    file, figures = read_pocket(path), {name: vars(one) for name, one in scores.metrics.items()}
    about = {
        **file.manifest["provenance"],
        "data": {"source": Path(prepared.about["source"]).name, "splits": prepared.about["splits"]},
        "teacher": dict(teacher), "trained_on": ["train"], "seed": job.seed,
    }  # fmt: skip
    quality = {"dev": dict(dev), "test": {"n": scores.n, "metrics": figures}}
    manifest = {**file.manifest, "provenance": about, "quality": quality, "budget": job.budget.to_json()}
    lines = [f"# A PocketLM model: {prepared.task.name}", "", f"{made}.", ""]
    lines += [f"- {key}: {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})" for key, one in figures.items()]
    lines += ["", "Test figures with 95 % intervals. Run it: `pip install pocketlm`, then", ""]
    lines += [f"    pocketlm run FILE.pocket {sample_words(prepared.task.name)}", ""]
    written = path.with_name("chosen.pocket")
    write_pocket(written, manifest, {**file.members, "CARD.md": "\n".join(lines).encode()}, replace=True)
    return written
