"""Candidates where text is modelled: the teacher itself in few bits, and a student that is cut out of it."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pocketlm.budget import Measurement, Verdict
from pocketlm.compress.calibration import Calibration, calibration_from_text
from pocketlm.compress.context import Context
from pocketlm.export.generator import Packing, export_generator
from pocketlm.job import Job
from pocketlm.measure.fresh import measure_writing
from pocketlm.model.pretrained import Model, load_model, save_model
from pocketlm.outputs import Example
from pocketlm.pocket.work import WorkFolder
from pocketlm.progress import Deadline, Progress
from pocketlm.recipe.shapes import Sizes, code_ratio, least_bytes, shapes
from pocketlm.recipe.shrink import best_cut, healed
from pocketlm.runtime.likelihood import likelihoods
from pocketlm.runtime.load import load
from pocketlm.search.judge import TEST_FIGURES_BYTES, TRADE_OFF
from pocketlm.tasks.answers import Predictions
from pocketlm.tasks.prepare import Prepared
from pocketlm.train.likelihood import bare_tokenizer, foresee
from pocketlm.units import format_size

BITS = (8, 4)
# Windows that grids and cuts are fitted on, and that healing reads at most.
CALIBRATION, MOST_WINDOWS = 128, 2_048
# Of the time that is left: for cutting, and then for healing; the rest is for storing and measuring.
CUT_SHARE, HEAL_SHARE = 0.3, 0.7
# Characters of dev that cuts and rounds of healing are judged by.
QUICK = 8_000
# The manifest and the page for people, and of the graph without its weights each block, compressed.
FRAME_BYTES, BLOCK_BYTES = 3_000, 2_000
# A student is made so much cheaper than it has to be, and cut anew at most so often where it is still too dear.
MARGIN, CUTS = 1.05, 3
# Of what the smallest shape takes: what it is asked for with, so that sums in floats do not refuse it.
SMALLEST = 1.01
MEASURING_SECONDS = 600.0


@dataclass(frozen=True)
class Study:
    """All that the stages share. key: what everything made here depends on. length: tokens of a window of text."""

    job: Job
    prepared: Prepared
    teacher: Model
    length: int
    key: Mapping[str, Any]
    work: WorkFolder
    progress: Progress
    deadline: Deadline

    def context(self, most: int, deadline: Deadline) -> Context:
        """What passes may look at: at most so many windows of the text to learn from, and the teacher."""
        return Context(
            self.windows(most), self.teacher, seed=self.job.seed, progress=self.progress, deadline=deadline
        )  # fmt: skip

    def windows(self, most: int) -> Calibration:
        """At most so many windows of the text to learn from."""
        text = joined(self.prepared.train)
        count = min(most, len(bare_tokenizer(self.teacher).encode(text).ids) // self.length)
        return calibration_from_text(text, self.teacher, count, self.length, seed=self.job.seed, source=self.job.data)

    def quick_loss(self, model: Model) -> float:
        """Bits a byte of the beginning of dev, in torch."""
        start = joined(self.prepared.dev)[:QUICK]
        return self.figures([Example(start)], foresee(model, [start]))["bits_per_byte"]

    def figures(self, examples: Sequence[Example], said: Predictions) -> dict[str, float]:
        """Every metric."""
        return self.prepared.task.figures(examples, said, self.prepared.outputs)

    def check(self, measured: Measurement, theirs: Mapping[str, float]) -> Verdict:
        """A measurement against the budget. theirs: the teacher's figures on the same split."""
        task = self.prepared.task
        lower = [name for name, higher in task.higher_is_better.items() if not higher]
        return self.job.budget.check(measured, task.main_metric, theirs, lower)

    def remembered(
        self, name: str, key: Mapping[str, Any], make: Callable[[Path], dict[str, Any]]
    ) -> tuple[Path, dict[str, Any]]:
        """The folder and the result of a step: as they were before, or made now in that folder."""
        step = self.work.step(name, {**self.key, **key})
        done = step.result
        if done is None:
            done = make(step.folder)
            step.finish(done)
        return step.folder, done


@dataclass(frozen=True)
class Tried:
    """A candidate: stored and measured on dev, or why not. verdict: against the budget, on dev. about: the rest."""

    name: str
    family: str
    why: str = ""
    path: Path | None = None
    measured: Measurement | None = None
    verdict: Verdict | None = None
    about: Mapping[str, Any] | None = None

    def over(self, *limits: str) -> float:
        """How many times the worst of these limits it takes; at most 1 where they hold or were not set."""
        given = self.verdict.limits if self.verdict else ()
        return 1 + max((one.over for one in given if one.name in limits), default=0.0)

    def to_json(self, chosen: bool) -> dict[str, Any]:
        """As the result tells it."""
        found: dict[str, Any] = {
            "name": self.name, "family": self.family, "status": "measured" if self.measured else "skipped",
            "why": self.why, "met": bool(self.verdict and self.verdict.met), "chosen": chosen,
        }  # fmt: skip
        if self.measured is not None and self.about is not None:
            found |= {**self.measured.to_json(), "seconds": self.about["seconds"]}
        return found


def joined(examples: Sequence[Example]) -> str:
    """Their texts as one."""
    return "\n\n".join(one.text for one in examples)


def whole(study: Study, theirs: Mapping[str, float]) -> list[Tried]:
    """The teacher itself in 8 and in 4 bits, as far as that may fit."""
    tried = []
    for bits in BITS:
        name, room = f"the teacher in {bits} bits", study.job.budget.max_size
        least = Sizes.of(study.teacher).bytes(bits) * code_ratio(study.teacher, bits) + frame_bytes(study.teacher)
        if room is not None and least * 0.98 > room:
            tried.append(Tried(name, "teacher", f"takes about {format_size(least)}"))
        else:
            tried.append(stored(study, name, "teacher", study.teacher, bits, {"model": "whole"}, theirs))
    return tried


def frame_bytes(model: Model) -> int:
    """What a Pocket has beside its weights, about."""
    graph = BLOCK_BYTES * Sizes.of(model).blocks
    return FRAME_BYTES + graph + len(zlib.compress(bare_tokenizer(model).to_str().encode(), 9))


def student(study: Study, theirs: Mapping[str, float], tried: Sequence[Tried]) -> list[Tried]:
    """A student that keeps the limits on size, latency and memory, as far as can be said before it is measured."""
    teacher, bits, budget = study.teacher, BITS[-1], study.job.budget
    ratio, frame, whole_size = code_ratio(teacher, bits), frame_bytes(teacher), Sizes.of(teacher).bytes(bits)
    least, room = least_bytes(teacher, bits), float(whole_size)
    if budget.max_size is not None:
        room = min(room, (budget.max_size - frame - TEST_FIGURES_BYTES) / ratio)
    if room < SMALLEST * least:
        words = teacher.module.get_input_embeddings().weight.shape[0]
        return [Tried("a student", "student", (
            f"the smallest that keeps the teacher's {words:,} pieces takes about {format_size(least * ratio + frame)}: "
            "allow more, or give a teacher of fewer pieces"
        ))]  # fmt: skip
    dear = max((one.over("latency", "memory") for one in tried if one.measured), default=1.0)
    room = min(room, whole_size / (dear * MARGIN)) if dear > 1 else room
    for number in range(CUTS):
        room = max(room, SMALLEST * least)
        ways = shapes(teacher, room, bits)
        key = {"cut": [way.to_json() for way in ways]}
        model, said = _cut(study, ways, key)
        if (budget.max_latency, budget.max_memory) == (None, None) or number == CUTS - 1 or room == SMALLEST * least:
            break
        dear = _price(study, model, key).over("latency", "memory")
        if dear <= 1:
            break
        room = min(room, Sizes.of(model).bytes(bits)) / (dear * MARGIN)
    model, taught = _healed(study, model, key)
    made = stored(study, said["name"], "student", model, bits, {"model": "healed", **key}, theirs)
    about = {**(made.about or {}), "notes": taught["notes"]}
    about["seconds"] += said["seconds"] + taught["seconds"]
    return [*(Tried(name, "student", why) for name, why in said["others"].items()), replace(made, about=about)]


def _cut(study: Study, ways: Sequence[Any], key: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
    """The best cut and {"name", "others", "seconds"}."""

    def make(folder: Path) -> dict[str, Any]:
        began = time.monotonic()
        cut = best_cut(
            study.teacher, ways, study.quick_loss, study.context(CALIBRATION, study.deadline.share(CUT_SHARE))
        )
        save_model(cut.model, folder / "model", force=True)
        others = {
            name: one if isinstance(one, str) else f"cut only: {one:.3f} bits a byte, over {cut.loss:.3f}"
            for name, one in cut.others.items()
        }
        return {"name": cut.recipe.name, "others": others, "seconds": time.monotonic() - began}

    folder, said = study.remembered("cut", key, make)
    return load_model(folder / "model"), said


def _healed(study: Study, model: Model, key: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
    """The model healed, and {"notes", "seconds"}."""

    def make(folder: Path) -> dict[str, Any]:
        began = time.monotonic()
        context = study.context(MOST_WINDOWS, study.deadline.share(HEAL_SHARE))
        taught, notes = healed(model, study.quick_loss, context)
        save_model(taught, folder / "model", force=True)
        return {"notes": notes, "seconds": time.monotonic() - began}

    folder, said = study.remembered("healed", key, make)
    return load_model(folder / "model"), said


def _price(study: Study, model: Model, key: Mapping[str, Any]) -> Tried:
    """What a cut costs as it is, its weights only rounded."""

    def make(folder: Path) -> dict[str, Any]:
        study.progress.stage("measuring what the cut costs")
        path = folder / "rounded.pocket"
        export_generator(model, path, Packing(BITS[-1]), force=True)
        return {"costs": writing_costs(path)}

    _, said = study.remembered("price", key, make)
    measured = Measurement.of({}, said["costs"])
    budget = replace(study.job.budget, min_quality=None)
    return Tried("cut", "student", measured=measured, verdict=budget.check(measured, ""))


def writing_costs(path: Path) -> dict[str, Any]:
    """What writing costs in a fresh process on one thread; its latency is that of a token."""
    taken = measure_writing(path, max_seconds=MEASURING_SECONDS)
    return {**taken, **{f"latency_{name}_ms": taken[f"token_{name}_ms"] for name in ("p50", "p95")}}


def stored(
    study: Study, name: str, family: str, model: Model, bits: int, key: Mapping[str, Any], theirs: Mapping[str, float]
) -> Tried:
    """The model as a Pocket in so many bits, 4 fitted to the text by error feedback, measured on dev."""

    def make(folder: Path) -> dict[str, Any]:
        began = time.monotonic()
        study.progress.stage(f"storing {name}" if family == "teacher" else f"storing {name} in {bits} bits")
        calibration = study.windows(CALIBRATION) if bits < 8 else None
        done = export_generator(model, folder / "a.pocket", Packing(bits, calibration=calibration), force=True)
        study.progress.stage("measuring it on dev")
        costs = writing_costs(folder / "a.pocket")
        dev = study.prepared.dev
        quality = study.figures(dev, likelihoods(load(folder / "a.pocket").generator, [one.text for one in dev]))
        apart = {name: float(value) for name, value in vars(done.difference).items()}
        return {"costs": costs, "quality": quality, "difference": apart, "seconds": time.monotonic() - began}

    folder, said = study.remembered("stored", {**key, "bits": bits}, make)
    measured = Measurement.of(said["quality"], said["costs"])
    # the final file also states its test figures
    verdict = study.check(replace(measured, size_bytes=measured.size_bytes + TEST_FIGURES_BYTES), theirs)
    about = {**said, "bits": bits, "passes": [_passed(one) for one in model.records], "parameters": model.parameters}
    return Tried(name, family, "" if verdict.met else str(verdict), folder / "a.pocket", measured, verdict, about)


def _passed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A pass as the report shows it."""
    before, after = zip(record["parameters"], record["size_bytes"], strict=True)
    return {
        "name": record["pass"], "settings": record["settings"], "notes": record["notes"], "seconds": record["seconds"],
        "parameters_before": before[0], "size_bytes_before": before[1],
        "parameters_after": after[0], "size_bytes_after": after[1],
    }  # fmt: skip


def choose(study: Study, tried: Sequence[Tried]) -> Tried | None:
    """The best on dev of those that meet the budget, or the nearest miss; None where nothing was measured.

    Without a limit on costs: the smallest that reaches the floor, or that is within TRADE_OFF of the best.
    """
    metric, budget = study.prepared.task.main_metric, study.job.budget
    known = [(one, one.measured, one.verdict) for one in tried if one.measured and one.verdict]
    if not known:
        return None
    met = [one for one in known if one[2].met]
    if not met:
        return min(known, key=lambda one: (one[2].distance, one[1].quality[metric]))[0]
    if (budget.max_size, budget.max_latency, budget.max_memory) == (None, None, None):
        most = min(one[1].quality[metric] for one in met) * (1 + TRADE_OFF)
        near = [one for one in met if budget.min_quality is not None or one[1].quality[metric] <= most]
        return min(near, key=lambda one: one[1].size_bytes)[0]
    return min(met, key=lambda one: (one[1].quality[metric], one[1].size_bytes))[0]
