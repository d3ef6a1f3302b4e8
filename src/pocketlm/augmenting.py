"""The story of `augment`: training rows in, new ones out, and which methods are worth it on held-out rows.

Read it from top to bottom. Dev and test rows are only ever compared with: no text of theirs comes back as a new row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketlm.augment.apply import NewRow, able_methods, augmented, insist, make_method, why_not
from pocketlm.augment.as_rows import augmented_rows
from pocketlm.augment.method import AUGMENTERS, Material, Method, Neighbours
from pocketlm.augment.mixup import alpha_of
from pocketlm.augment.sift import Judge, Sieve
from pocketlm.data.languages import find_language
from pocketlm.data.source import ORIGIN, check_ending, write_rows
from pocketlm.errors import MissingExtraError, ModelError, RecipeError
from pocketlm.job import Job
from pocketlm.pocket.format import check_output
from pocketlm.pocket.work import digest
from pocketlm.progress import Progress, Silent
from pocketlm.tasks.prepare import Prepared, prepare

if TYPE_CHECKING:
    from pocketlm.model.encoder import Pretrained
    from pocketlm.search.gains import Gain

ALL, AUTO, NONE = "all", "auto", "none"
NO_ROWS = "blends vectors of texts while models are trained and makes no rows: use fit DATA --augment mixup"


@dataclass(frozen=True)
class Augmentation:
    """What `augment` is asked to do.

    job: the data, its columns and language, a teacher that judges, the seed. methods: names, or ALL for every one that
    these rows and settings allow. settings: what methods need: model, there, back, lexicon. measure: whether held-out
    gains are taken, and decide what is written. output: the file to write. copies: times a method goes over the rows.
    confidence: the least score of a new row's own label in the judge's answer. seeds, folds: of the measurement.
    """

    job: Job
    methods: tuple[str, ...]
    settings: Mapping[str, str | None] = field(default_factory=dict)
    measure: bool = False
    output: str | None = None
    copies: int = 2
    confidence: float = 0.5
    seeds: int = 3
    folds: int = 3

    def __post_init__(self) -> None:
        if not self.methods:
            raise RecipeError("augment needs --try all (or names), or --method NAME with -o FILE")
        if not 0 <= self.confidence <= 1:
            raise RecipeError(f"confidence is a share from 0 to 1, got {self.confidence}")
        if self.copies < 1 or self.seeds < 1 or self.folds < 2:
            raise RecipeError("copies and seeds are at least 1, folds at least 2")


def augment(wish: Augmentation, progress: Progress | None = None) -> dict[str, Any]:
    """What was measured and written, as plain data. Raises UserError for wrong input."""
    job, progress = wish.job, progress or Silent()
    if not (wish.measure or wish.output):
        raise RecipeError("--method says whose rows are written: name the file with -o, or measure with --try")
    if "mixup" in wish.methods and not wish.measure:
        raise RecipeError(f"mixup {NO_ROWS}")
    if wish.output is not None:
        check_ending(Path(wish.output))
        check_output(Path(wish.output), replace=job.force)
    named = [make_method(name, wish.settings) for name in wish.methods if name != ALL]
    prepared = prepare(job)
    pretrained = _pretrained(job)
    near = _near(prepared, pretrained, progress)
    material = Material(tuple(prepared.train), _language(job), near)
    insist(named, material)
    methods, skipped = _allowed(material, wish.settings) if ALL in wish.methods else (named, {})
    result: dict[str, Any] = {
        "task": prepared.task.name, "metric": prepared.task.main_metric, "rows": len(prepared.train),
        "methods": [one.name for one in methods], "skipped": skipped, "notes": prepared.about["notes"],
        "without": None, "gains": [], "output": None, "new_rows": 0, "dropped": {},
    }  # fmt: skip
    if wish.measure:
        without, found = _measured(methods, prepared, material, wish, progress)
        result |= {"without": without, "gains": [one.to_json() for one in found]}
        methods = [one for one, gain in zip(methods, found, strict=True) if gain.helps]
    if wish.output is not None:
        if alpha_of(methods):
            methods = [one for one in methods if one.name != "mixup"]
            result["skipped"] |= {"mixup": f"it {NO_ROWS}"}
        judge = _judge(job, prepared, pretrained, methods, progress)
        new, dropped = _new_rows(methods, prepared, material, judge, wish)
        _write(prepared, new, Path(wish.output), replace=job.force)
        result |= {"output": wish.output, "written": [one.name for one in methods]}
        result |= {"new_rows": len(new), "dropped": dict(dropped)}
    return result


def with_new_rows(job: Job, prepared: Prepared, progress: Progress) -> Prepared:
    """`fit`'s data with new training rows by the methods that job.augment names, or by those whose gain is sure.

    What was done is in `about`: for the report, the manifest and the work folder. Raises UserError as `augment` does.
    """
    names = tuple(part.strip() for part in job.augment.split(",") if part.strip())
    wish = Augmentation(job, names, measure=names == (AUTO,))
    material = Material(tuple(prepared.train), _language(job))
    found: list[Gain] = []
    if wish.measure:
        methods, _ = _allowed(material, {})
        _, found = _measured(methods, prepared, material, wish, progress)
        methods = [one for one, gain in zip(methods, found, strict=True) if gain.helps]
    else:
        methods = [_free_method(name) for name in names]
        insist(methods, material)
    judge = _judge(replace(job, teacher=None), prepared, None, methods, progress)
    new, dropped = _new_rows(methods, prepared, material, judge, wish)
    mixup = alpha_of(methods)
    about = {
        "methods": [{"method": one.name, **vars(one)} for one in methods], "new_rows": len(new), "mixup": mixup,
        "dropped": dict(dropped), "gains": [one.to_json() for one in found],
        "sha256": digest([*([row.example.text, *row.example.tokens] for row in new), *([mixup] if mixup else [])]),
    }  # fmt: skip
    notes = [*prepared.about["notes"], _note(job, methods, found, len(new))]
    return replace(
        prepared,
        train=[*prepared.train, *(row.example for row in new)],
        about={**prepared.about, "notes": notes, "augmentation": about},
    )


def _language(job: Job) -> str:
    """The code of the rows' language, "" where nobody says."""
    return find_language(job.language).code if job.language else ""


def _free_method(name: str) -> Method:
    """The method called `name`. Raises RecipeError where it needs what a fit is not told."""
    if AUGMENTERS[name].needs:
        raise RecipeError(
            f"{name} needs {' and '.join(AUGMENTERS[name].needs)}: write its rows by pocketlm augment DATA --method "
            f"{name} -o FILE, and fit that file"
        )
    return make_method(name, {})


def _note(job: Job, methods: Sequence[Method], found: Sequence[Gain], new: int) -> str:
    """One line on what was added, and on what each method that was tried gained."""
    rows = ", ".join(one.name for one in methods if one.name != "mixup")
    done = f"{new} rows by {rows} added to training" if rows else "no row added"
    if alpha_of(methods):
        done += "; vectors of texts are blended (mixup) while models learn by gradients, not where they are solved for"
    tried = [f"{one.method} {one.gain.value:+.4f} ({one.gain.low:+.4f} to {one.gain.high:+.4f})" for one in found]
    return f"augmentation ({job.augment}): {done}" + (
        f"; gains of n-grams held out: {', '.join(tried)}" if tried else ""
    )


def _allowed(material: Material, settings: Mapping[str, str | None]) -> tuple[list[Method], dict[str, str]]:
    """The methods that these settings and rows allow, and why the others are left out."""
    able = able_methods(settings)
    reasons = {one.name: reason for one in able if (reason := _reason(one, material))}
    methods = [one for one in able if one.name not in reasons]
    if not methods:
        raise RecipeError("no method applies to these rows: " + "; ".join(f"{k}: {v}" for k, v in reasons.items()))
    return methods, reasons


def _reason(method: Method, material: Material) -> str:
    """Why a method that nobody named is left out: a model that is not of its kind may be another method's."""
    try:
        return why_not(method, material)
    except ModelError as error:
        return str(error)


def _pretrained(job: Job) -> Pretrained | None:
    if job.teacher is None:
        return None
    _need_torch("a teacher")
    from pocketlm.model.encoder import load_pretrained

    return load_pretrained(job.teacher)


def _near(prepared: Prepared, pretrained: Pretrained | None, progress: Progress) -> Neighbours | None:
    """Words of like meaning as the encoder has them before it is fine-tuned; None without one."""
    if pretrained is None:
        return None
    from pocketlm.runtime.ngrams import ngram_words
    from pocketlm.train.neighbours import neighbours

    progress.stage("finding words of like meaning")
    return neighbours(pretrained, {word for one in prepared.train for word in ngram_words(one.text)})


def _measured(
    methods: Sequence[Method], prepared: Prepared, material: Material, wish: Augmentation, progress: Progress
) -> tuple[float, list[Gain]]:
    _need_torch("measuring gains")
    from pocketlm.search.gains import Trials, gains

    progress.stage(f"measuring what {len(methods)} methods gain on held-out rows")
    trials = Trials(
        prepared.task, prepared.outputs, material.language, material.near, wish.copies, wish.confidence, wish.seeds,
        wish.folds, wish.job.seed,
    )  # fmt: skip
    return gains(methods, prepared.train, trials, progress)


def _judge(
    job: Job, prepared: Prepared, pretrained: Pretrained | None, methods: Sequence[Method], progress: Progress
) -> Judge | None:
    """The fine-tuned teacher, or n-grams that learnt from the rows; None where no row can have lost its label."""
    labelled = all(output.kind in ("single", "multi", "tags") for output in prepared.outputs)
    if not labelled or all(method.certain for method in methods):
        return None
    _need_torch("judging new rows")
    from pocketlm.model.encoder import teacher_model
    from pocketlm.search.gains import trained_student
    from pocketlm.train.teach import answers, fine_tune

    progress.stage("teaching the judge of new rows")
    if pretrained is None:
        return partial(answers, trained_student(prepared.task, prepared.outputs, prepared.train, job.seed))
    length = job.for_task(prepared.task.name).max_length
    assert length is not None  # `for_task` has set it
    model = teacher_model(pretrained, prepared.outputs, length)
    fine_tune(model, prepared.train, prepared.dev, prepared.task, seed=job.seed, progress=progress)
    return partial(answers, model)


def _new_rows(
    methods: Sequence[Method], prepared: Prepared, material: Material, judge: Judge | None, wish: Augmentation
) -> tuple[list[NewRow], Counter[str]]:
    """New rows that pass the sieve, and how many did not, by reason."""
    made = augmented(methods, material, seed=wish.job.seed, copies=wish.copies)
    sieve = Sieve([*prepared.dev, *prepared.test], judge, prepared.outputs, wish.confidence)
    return sieve(made, prepared.train)


def _write(prepared: Prepared, new: Sequence[NewRow], path: Path, *, replace: bool) -> None:
    """All splits with the new rows in train; the column "split" keeps rows that belong together on one side."""
    assert prepared.columns is not None
    train = augmented_rows(prepared.rows["train"], new, prepared.columns)
    held = [{**row, ORIGIN: "", "split": name} for name in ("dev", "test") for row in prepared.rows[name]]
    write_rows([*({**row, "split": "train"} for row in train), *held], path, replace=replace)


def _need_torch(what: str) -> None:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError(what, "build") from None
