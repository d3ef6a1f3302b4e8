"""Which students suit data and a budget, said without training one.

Sizes follow from recipes, latencies from what this machine (or another, of a file) takes for building blocks, and
quality from studies of jobs like this one; each with a range, and each an estimate.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pocketlm.advice.evidence import (
    KINDS,
    Expectation,
    Verdict,
    advised,
    by_rule_of_thumb,
    expected,
    known_cases,
    of_any_job,
    scored,
)
from pocketlm.budget import Budget
from pocketlm.errors import RecipeError
from pocketlm.hearing import covers
from pocketlm.job import Job
from pocketlm.measure.calibrate import this_machine
from pocketlm.measure.device import Device, read_device
from pocketlm.model.encoder import Pretrained, find_teacher, load_pretrained
from pocketlm.opening import to_learn_from, ways_of, with_data, with_vectors
from pocketlm.outputs import Example
from pocketlm.progress import Progress, Silent
from pocketlm.search.asked import asked_on_dev, check_floors, share_of_none
from pocketlm.search.facts import Facts
from pocketlm.search.family import Candidate
from pocketlm.search.forecast import Forecast, memory_at_least, with_room_of
from pocketlm.search.space import FAMILIES, OWN, Space, check_in_space, check_settings, families_for, unsuited
from pocketlm.search.warm import described
from pocketlm.search.work import TextSize, encoder_work, work_of
from pocketlm.students.pieces import student_pieces
from pocketlm.tasks.prepare import Prepared
from pocketlm.train.context import FitContext
from pocketlm.train.few_shot import FROZEN
from pocketlm.train.keras_teacher import is_keras
from pocketlm.train.lesson import lesson
from pocketlm.units import format_latency, format_size

# Of each family, what it is and when it is good.
ABOUT = {
    "linear": "words and parts of words, weighed in closed form: hard to beat with few rows, and where no encoder "
    "knows the language (Wang and Manning 2012; Adelani et al. 2023)",
    "bag": "vectors of n-grams, summed up: microseconds, and taught by many texts that the teacher labels "
    "(Joulin et al. 2017)",
    "static": "the teacher's word pieces without their context: microseconds, and words of like meaning are alike "
    "(Shen et al. 2018)",
    "convnet": "a few convolutions over word pieces: word order, at a fraction of a transformer's time (Kim 2014)",
    "transformer": "some layers of the teacher, or those of its heads and units that matter most, distilled: the most "
    "quality where bytes and time allow (Turc et al. 2019; Jiao et al. 2020; Kurtic et al. 2023); in a search "
    "these have linear n-grams beside them where texts have one label (Wolpert 1992)",
    "stack": "a small encoder that sees as the teacher does, and n-grams beside it, solved together: for few rows and "
    "much text without labels (Reimers and Gurevych 2020)",
}
# Rows a class below which ways to learn from few are told of.
FEW = 100
# Words of a text from which on how many are read may vary.
LONG = 48


@dataclass(frozen=True)
class Prospect:
    """What a family's rule of thumb is expected to take and to reach.

    recipe: its name, "" where it has no room. size_bytes, latency_ms: from, expected, to. expectation: what studies of
    like jobs tell of its quality, None where none does; otherwise: what studies of any jobs tell then. fits: whether
    it is expected to keep to the budget. why: it does not, or what it is.
    """

    family: str
    recipe: str
    size_bytes: tuple[float, float, float] | None
    latency_ms: tuple[float, float, float] | None
    expectation: Expectation | None
    fits: bool
    why: str
    otherwise: Expectation | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def advise(job: Job | str, *, progress: Progress | None = None, **settings: Any) -> dict[str, Any]:
    """What suits the job, as plain data: `prospects` of every family, the `advised` one, `reasons`, and the `command`.

    job: as of `fit`. Nothing is trained; the teacher reads some rows, to say whether it covers the language. Raises
    UserError as `fit` does.
    """
    job = Job(job, **settings) if isinstance(job, str) else replace(job, **settings)
    progress, budget, asked = progress or Silent(), job.budget, job
    there = None if job.device == "host" else read_device(Path(job.device))
    if job.teacher:
        find_teacher(job.teacher)
    if job.recipe:
        raise RecipeError("recipe: the one recipe to try leaves nothing to advise; leave it out")
    check_settings(job.set)
    job, prepared = with_data(job, progress)
    if any(output.kind == "text" for output in prepared.outputs):
        raise RecipeError(
            f"advise: models for {prepared.task.name} are no students of a kind; pocketlm advise MODEL says how a "
            "model comes to a size"
        )
    asked_on_dev(budget, prepared)
    pretrained, heard = _teacher(job, prepared, progress)
    check_floors(budget.floors, prepared, heard)
    prepared.about["notes"] += [] if heard else share_of_none(budget, prepared.task.main_metric)
    prepared = with_vectors(job, prepared, pretrained)
    facts, text = _facts(job, prepared, pretrained, heard)
    device = there or this_machine(progress.stage)
    cases, about = known_cases(), described(facts, budget, prepared.task.name)
    found = expected(cases, about)
    # the machine's flash and memory are limits of what is met, as in a fit, and nothing that students are filled to
    allowed = with_room_of(budget, there)
    facts = replace(facts, graph_room=Forecast(device, facts, text).room(allowed.max_memory))
    named = any(one.startswith(f"{OWN}.family=") for one in job.set)
    looked = _Look(Space(facts, budget, job.set), allowed, device, text, found, of_any_job(cases), named)
    prospects = [looked.prospect(family.name) for family in FAMILIES if family.name in ABOUT]
    able = [one.family for one in prospects if one.fits]
    chosen = advised(found, able) or by_rule_of_thumb(about, able)
    verdicts = scored(cases)
    return {
        "data": job.data, "task": prepared.task.name, "rows": len(prepared.train), "dev_rows": len(prepared.dev),
        "labels": facts.labels, "words": round(text.words, 1), "teacher": job.teacher if heard else None,
        "budget": budget.to_json(), "device": device.name, "device_error": device.error,
        "prospects": [one.to_json() for one in prospects], "able": able, "advised": chosen,
        "known": chosen in found, "reasons": _reasons(job, prepared, facts, text, device, pretrained),
        "command": _command(asked, chosen, facts), "whole_search": command_of(asked, job.set),
        "score": score(verdicts),
    }  # fmt: skip


def score(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """How many pieces of advice were good, and close to the best; of those with a choice, beside a blind draw."""
    free = [one for one in verdicts if one.able > 1]
    return {
        "cases": len(verdicts), "good": sum(one.good for one in verdicts), "close": sum(one.close for one in verdicts),
        "free": len(free), "free_good": sum(one.good for one in free),
        "free_chance": round(sum(one.chance for one in free), 2),
    }  # fmt: skip


def _teacher(job: Job, prepared: Prepared, progress: Progress) -> tuple[Pretrained | None, bool]:
    """The encoder, if there is one that covers the language, and whether there will be a teacher."""
    if not job.teacher:
        return None, False
    if is_keras(job.teacher):
        return None, True
    pretrained = load_pretrained(job.teacher)
    return (pretrained, True) if covers(pretrained, prepared, job, progress) else (None, False)


def _facts(job: Job, prepared: Prepared, pretrained: Pretrained | None, heard: bool) -> tuple[Facts, TextSize]:
    """What sizes depend on, with as many texts as a teacher will label; and a text of middling length."""
    assert job.max_length is not None and job.variants is not None  # `for_task` has set them
    learnt, _ = to_learn_from(job, prepared, pretrained)
    frozen = ways_of(job, prepared, pretrained) == (FROZEN,)
    more = [Example(text) for text in prepared.unlabelled] if heard else []
    context = FitContext(
        prepared.task, prepared.outputs, lesson([*learnt, *more], prepared.outputs), prepared.dev, job.max_length,
        pretrained, seed=job.seed, focus=job.focus, frozen=frozen,
    )  # fmt: skip
    pieces = student_pieces(context, None)
    facts = Facts.of(context, len(pieces.counts), job.effort)
    # students of an encoder that stays as it is learn from its vectors and the labels, not from what it would say
    variants = job.variants * (facts.texts - len(more)) if heard and not frozen else 0
    return replace(facts, texts=facts.texts + variants, taught=heard and not frozen), TextSize.of(context, pieces)


@dataclass(frozen=True)
class _Look:
    """How families are looked at.

    allowed: the budget, with what the machine has. found: what studies of like jobs tell of them; others: of any jobs.
    named: whether the user says which are tried.
    """

    space: Space
    allowed: Budget
    device: Device
    text: TextSize
    found: Mapping[str, Expectation]
    others: Mapping[str, Expectation]
    named: bool

    def prospect(self, name: str) -> Prospect:
        """Of the largest rule of thumb of the family that keeps to the limits, or the nearest miss."""
        if name not in self.space.families:
            return Prospect(name, "", None, None, None, False, self._unsuited(name))
        starts = [one for one in self.space.starts if one.family == name]
        if not starts:
            room = "" if self.allowed.max_size is None else f" in {format_size(self.allowed.max_size)}"
            return Prospect(name, "", None, None, None, False, f"has no room{room}")
        fitting = [one for one in starts if not self._over(one)]
        best = fitting[-1] if fitting else min(starts, key=self._time)
        known, other = self.found.get(name), self.others.get(name)
        why = ABOUT[name] + self._below(known) if fitting else self._over(best)
        sizes, times = self._sizes(best, known or other), self._times(best, known or other)
        return Prospect(
            name, best.recipe.name, sizes, times, known, bool(fitting), why, other if known is None else None
        )

    def _below(self, known: Expectation | None) -> str:
        """That rules of thumb stayed below the share of the teacher's quality that is asked for, or ""."""
        floor = self.allowed.min_quality
        if floor is None or not floor.of_teacher or known is None or known.kept is None:
            return ""
        most = known.kept[1]
        told = f"; its rules of thumb had {most:.1%} of the teacher's quality at most in studies of like jobs, some of "
        told += f"smaller files or fewer epochs, and {floor.value:.1%} is asked for"
        return told if most < floor.value else ""

    def _over(self, candidate: Candidate) -> str:
        """Why a candidate is not expected to keep to the limits, or ""."""
        limit, room, most = self.allowed.max_latency, self.allowed.max_size, self.allowed.max_memory
        if limit is not None and (took := self._time(candidate)) > limit:
            return f"expected to take {format_latency(took)}, over {limit:g} ms"
        if room is not None and candidate.expected_bytes > room:
            return f"expected to take {format_size(candidate.expected_bytes)}, over {format_size(room)}"
        least = memory_at_least(self.device, candidate.recipe, candidate.expected_bytes)
        if most is not None and least > most:
            return f"with the runtime it takes {format_size(least)} of memory at least, over {format_size(most)}"
        return ""

    def _time(self, candidate: Candidate) -> float:
        return self.device.milliseconds(work_of(candidate.recipe, self.space.facts, self.text))

    def _sizes(self, candidate: Candidate, known: Expectation | None) -> tuple[float, float, float]:
        """Bytes, from what the files of studies were smaller and larger than expected."""
        low, high = (1.0, 1.0) if known is None or known.size is None else known.size
        middle = candidate.expected_bytes
        return min(1.0, low) * middle, middle, max(1.0, high) * middle

    def _times(self, candidate: Candidate, known: Expectation | None) -> tuple[float, float, float]:
        """Milliseconds, from what students took against expectations, and how far blocks were off."""
        middle, off = self._time(candidate), self.device.error
        low, high = (1.0, 1.0) if known is None or known.time is None else known.time
        return min(max(0.0, 1 - off), low) * middle, middle, max(1 + off, high) * middle

    def _unsuited(self, name: str) -> str:
        facts = self.space.facts
        if name in [one.name for one in families_for(facts, named=self.named)]:
            return "is not among those that --set names, or cannot be what it says"
        return unsuited(name, facts)


def _reasons(
    job: Job, prepared: Prepared, facts: Facts, text: TextSize, device: Device, pretrained: Pretrained | None
) -> list[str]:
    """What the data and the machine say, one line each."""
    found = list(prepared.about["notes"])
    each = len(prepared.train) / max(1, facts.labels)
    if facts.single and each < FEW:
        more = "" if job.unlabelled or pretrained is None else "; text without labels (--unlabelled) is worth most"
        found.append(
            f"{each:.0f} rows a class are few: pocketlm label proposes which to label next, and dev's "
            f"{len(prepared.dev)} rows tell only large differences{more}"
        )
    if not job.teacher and not facts.vectors and not facts.asking:
        found.append("without --teacher students learn from the labels alone; an encoder of the language teaches more")
    if pretrained is not None and facts.layers > 1:
        whole, one = (
            device.milliseconds(encoder_work(facts, layers, text.pieces)) for layers in (facts.layers, 1)
        )  # fmt: skip
        layer = format_latency((whole - one) / (facts.layers - 1))
        found.append(
            f"{pretrained.name} has {facts.layers} layers, each about {layer} in int8 for the {text.pieces:.0f} pieces "
            f"of a middling text on {device.name}: {format_latency(whole)} in all"
        )
    if facts.taught:
        found.append(
            "whether the teacher knows more than n-grams shows when it is fine-tuned; if not, students do without"
        )
    if (limit := job.budget.max_latency) is not None:
        call = device.microseconds["call"] / 1e3
        found.append(f"a call alone takes {format_latency(call)} of the {limit:g} ms there")
        if facts.words > LONG and facts.single:
            found.append(f"texts have {facts.words:.0f} words: how many of them linear n-grams read is searched")
    return found


def _command(job: Job, family: str | None, facts: Facts) -> str:
    """The fit that tries this family. Where only a teacher that is heard brings it, with what there is without."""
    if family is None:
        return command_of(job, job.set)
    alone = [one.name for one in families_for(replace(facts, taught=False, frozen=False, texts=facts.labelled))]
    # without a teacher to begin with, what is named is tried of few texts, too
    names = [family] if family in alone or not facts.single or not facts.taught else [family, "linear"]
    if facts.taught:
        names += [one.name for one in families_for(facts) if KINDS.get(one.name) == family]
    kept = []
    for each in job.set:
        if each.startswith(f"{OWN}.family="):
            continue
        with suppress(RecipeError):  # the settings of other families
            check_in_space([f"{OWN}.family={','.join(names)}", each], facts)
            kept.append(each)
    return command_of(job, [*kept, f"{OWN}.family={','.join(names)}"])


def command_of(job: Job, narrowed: Sequence[str]) -> str:
    """`pocketlm fit` with the job's settings, and these in place of its `set`."""
    words = ["pocketlm", "fit", job.data]
    for one in fields(Job):
        value = getattr(job, one.name)
        if one.name in ("data", "set") or value == one.default:
            continue
        flag = "--" + one.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{one.name}")
        else:
            for each in value if isinstance(value, tuple) else (value,):
                words += [flag, str(each)]
    for each in narrowed:
        words += ["--set", each]
    return shlex.join(words)
