"""The story of `pocketlm compress`: a model's name and a recipe or a size in, a folder and a report out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pocketlm.compress.audit import audit
from pocketlm.compress.calibration import Batch, Calibration, batch_masks, read_calibration
from pocketlm.compress.context import Context
from pocketlm.compress.explain import explained
from pocketlm.compress.gradients import batch_loss
from pocketlm.compress.memory import SEARCH, foresee, work_of
from pocketlm.compress.walk import precision
from pocketlm.compress.words import comparable
from pocketlm.errors import BudgetMissed, CalibrationError, RecipeError
from pocketlm.model.keras_file import run_code
from pocketlm.model.pretrained import Model, load_model, save_model
from pocketlm.progress import Progress, Silent
from pocketlm.recipe.compress import compress, read_recipe
from pocketlm.recipe.currency import Microseconds
from pocketlm.recipe.recipe import Recipe
from pocketlm.recipe.target import plan_for
from pocketlm.units import format_size


@dataclass(frozen=True)
class CompressJob:
    """What to compress, how, and where to. Of recipe (a YAML file), target_size (bytes) and target_time one is given.

    target_time: microseconds of a forward pass over one sequence of calibration, by torch in float32 on this machine.

    calibration: a text file, or WAV files. windows, length: how much of it is read. test: text for the audit only.
    teacher: the model that healing learns from, as `model`; without, the model itself as it is given. code: a Python
    file that registers layers of a .keras file, which is run.
    """

    model: str
    output: Path
    recipe: str | None = None
    target_size: int | None = None
    target_time: int | None = None
    calibration: str | None = None
    windows: int = 128
    length: int = 512
    test: str | None = None
    teacher: str | None = None
    seed: int = 0
    workers: int = 1
    ray: str | None = None
    disk: Path | None = None
    allow_no_effect: bool = False
    force: bool = False
    code: str | None = None


def run_job(job: CompressJob, progress: Progress | None = None) -> dict[str, Any]:
    """Compress and save; records, audit, loss before and after and size as plain data.

    Raises UserError for wrong input, NoEffect where a pass did nothing, BudgetMissed where the folder is too large.
    """
    progress = progress or Silent()
    test = _test_text(job)
    steps = None if job.recipe is None else read_recipe(job.recipe)
    if job.code is not None:
        run_code(job.code)
    progress.stage(f"loading {job.model}")
    model = load_model(job.model)
    calibration = _calibration(job, model)
    teacher = _teacher(job, model)
    longest = 0 if calibration is None else max(next(iter(one.values())).shape[-1] for one in calibration.batches)
    work = SEARCH if steps is None else work_of(steps.steps, longest)
    foresee(model, 0 if calibration is None else calibration.tokens, job.disk is not None, work)
    if job.disk is not None:
        job.disk.mkdir(parents=True, exist_ok=True)
    context = Context(
        calibration, teacher, seed=job.seed, workers=job.workers, ray=job.ray, disk=job.disk,
        allow_no_effect=job.allow_no_effect, progress=progress,
    )  # fmt: skip
    made, recipe, notes = _made(job, model, calibration, steps, context)
    losses: list[float | None] = [None, None]
    compared = None if calibration is None else comparable(model, made, calibration)
    if compared is not None:
        progress.stage("comparing")
        whole, read = compared
        made, losses = explained(whole, made, _few(read), context), _losses(whole, made, read)
    progress.stage(f"writing {job.output}")
    size = save_model(made, job.output, force=job.force)
    if calibration is not None:
        progress.stage("judging the result, and what calibration was like")
    report = {
        "model": job.model, "output": str(job.output), "size_bytes": size, "recipe": recipe.to_json(),
        "notes": notes,
        "records": list(made.records), "loss": losses,
        "audit": {} if calibration is None else audit(model, calibration, test),
    }  # fmt: skip
    _check_target(job, made, calibration, size, report)
    return report


def _check_target(
    job: CompressJob, made: Model, calibration: Calibration | None, size: int, report: dict[str, Any]
) -> None:
    """Raises BudgetMissed where the folder is larger, or the model slower when timed once more, than it is to be."""
    if job.target_size is not None and size > job.target_size:
        raise BudgetMissed(
            f"{job.output}: is {format_size(size)}, more than {format_size(job.target_size)}; it was written", report
        )
    if job.target_time is not None and calibration is not None:
        clock = _clock(calibration)
        report["time_ms"] = (taken := clock.of(made)) / 1000
        if taken > job.target_time:
            raise BudgetMissed(
                f"{job.output}: takes {clock.said(taken)}, timed once more, and should take at most "
                f"{clock.said(job.target_time)}; it was written", report,
            )  # fmt: skip


def _clock(calibration: Calibration) -> Microseconds:
    """Times models on the first sequence of the calibration."""
    return Microseconds({name: values[:1] for name, values in calibration.batches[0].items()})


def _made(
    job: CompressJob, model: Model, calibration: Calibration | None, steps: Recipe | None, context: Context
) -> tuple[Model, Recipe, list[str]]:
    """The compressed model, the recipe that made it, and what is worth saying of how that was found."""
    if steps is not None:
        return compress(model, steps, context), steps, []
    if calibration is None:
        raise RecipeError("a target needs calibration text to weigh layers by; give --calibration FILE")
    if job.target_time is not None:
        plan = plan_for(model, calibration, job.target_time, context, currency=_clock(calibration))
    else:
        assert job.target_size is not None  # one of the three is given
        plan = plan_for(model, calibration, job.target_size, context)
    return plan.model, plan.recipe, [plan.text]


def _teacher(job: CompressJob, model: Model) -> Model | None:
    """The model named as teacher. Raises RecipeError where it does not say the same words."""
    if job.teacher is None:
        return None
    teacher = load_model(job.teacher)
    words = [one.module.config.vocab_size for one in (model, teacher)]
    if words[0] != words[1]:
        raise RecipeError(f"teacher {job.teacher}: knows {words[1]:,} pieces, not the {words[0]:,} of the model")
    return teacher


def _calibration(job: CompressJob, model: Model) -> Calibration | None:
    if job.calibration is None:
        return None
    return read_calibration(job.calibration, model, job.windows, job.length, seed=job.seed)


def _test_text(job: CompressJob) -> str | None:
    if job.test is None:
        return None
    try:
        return Path(job.test).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"test {job.test}: cannot be read as UTF-8 text: {error}") from None


def _losses(model: Model, made: Model, calibration: Calibration) -> list[float | None]:
    """Mean loss of a predicted token on at most four batches, before and after; None for a model that predicts none."""
    if model.module.get_output_embeddings() is None or model.spec.kind in ("encoder", "speech"):
        return [None, None]
    with torch.no_grad(), precision(False):
        return [_mean_loss(one, _few(calibration).batches) for one in (model, made)]


def _few(calibration: Calibration) -> Calibration:
    """Its first four batches."""
    return Calibration(calibration.batches[:4], source=calibration.source)


def _mean_loss(model: Model, batches: Sequence[Batch]) -> float:
    """A sequence at a time, as the logits of a whole batch may take more memory than the model."""
    generator, total, tokens = torch.Generator().manual_seed(0), 0.0, 0
    for batch in batches:
        for place in range(len(batch["input_ids"])):
            one = {name: value[place : place + 1] for name, value in batch.items()}
            total += float(batch_loss(model, one, None, generator))
            tokens += int(batch_masks(one)[-1][:, 1:].sum())  # nothing predicts the first
    return total / max(1, tokens)
