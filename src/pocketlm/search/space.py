"""What a search may try: students of every family that suits a job, with the settings their passes declare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

import numpy as np

from pocketlm.budget import SMALLEST_POCKET_BYTES, Budget
from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, Knob, Real, Wanted, Whole, decisive_of, knobs_of, meeting, parse_setting
from pocketlm.pocket.format import read_pocket
from pocketlm.recipe.recipe import Recipe, recipe_in
from pocketlm.search.facts import Facts
from pocketlm.search.family import Candidate, Family, Start, Steps, quiet_in, value_in, with_values
from pocketlm.search.ngram_families import BAG, LEXICON_ROWS, LINEAR
from pocketlm.search.piece_families import ALLOCATED, CONVNET, STACK, STATIC, TRANSFORMER
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.tables import did_you_mean, settings_of, unfit

if TYPE_CHECKING:
    from numpy.random import Generator
    from optuna.trial import Trial

FAMILIES = (LINEAR, BAG, STATIC, CONVNET, TRANSFORMER, ALLOCATED, STACK)
# Fewer texts than these teach a network with random weights less than n-grams know, where no teacher helps it.
FEW_TEXTS = 3_000
# Bytes to fill: at least this share of what a rule of thumb fills, and without a limit at most so many times as many.
LEAST_SHARE, UNLIMITED = 0.1, 2
# Learning rates: so many times smaller or larger than by a rule of thumb.
RATES = 4.0
# A knob of how much of a text is read.
READ_OF_A_TEXT = ".max_words"
# Bytes to fill that may be asked for.
SIZES = Whole(1, 2**40)
# Sizes that are looked at for the least that has room: each so many times the one before, up to so many bytes.
LOOKED_STEP, LARGEST_LOOKED = 1.05, 1e9
# The name under which a search's own choices are set: the family, and the bytes to fill.
OWN = "search"
# Sizes of a vocabulary that are looked at, of a range, until one has room.
STEPS_DOWN = 12


def families_for(facts: Facts, *, named: bool = False) -> tuple[Family, ...]:
    """Those that can do the task, and that so many rows can teach.

    named: whether the user says which, who may try those that few texts teach little.
    """
    if facts.asking:
        return (TRANSFORMER,)
    if facts.single and (facts.frozen or not (facts.taught or named or facts.texts >= FEW_TEXTS)):
        return (LINEAR,)
    # of many rows a network learns more than its teacher's vectors tell, which take long to ask for
    able = {
        LINEAR: facts.single,
        ALLOCATED: facts.taught and not facts.vectors,
        STACK: facts.single and facts.taught and facts.encoder and facts.labelled <= LEXICON_ROWS,
    }
    return tuple(one for one in FAMILIES if able.get(one, True))


def unsuited(name: str, facts: Facts) -> str:
    """Why a family is none of `families_for`."""
    if facts.vectors or facts.asking or (name in ("linear", "stack") and not facts.single):
        return "does not do this task"
    if facts.frozen:
        return "is not tried beside an encoder that stays as it is: students learn its vectors in closed form"
    if name == "stack" and facts.labelled > LEXICON_ROWS:
        return "is for fewer labelled rows: of so many a network learns more than the teacher's vectors tell"
    if name == "stack":
        return "needs a teacher that students hear, and sees as it does"
    if name == "allocated":
        return "needs a teacher that students hear, whose parts it keeps"
    return (
        f"is not for these data: without a teacher fewer than {FEW_TEXTS:,} texts teach a network less than n-grams "
        f"know; --set {OWN}.family={name} tries it"
    )


class Space:
    """The candidates of a job.

    narrowed: texts such as "quantize.bits=4,8", "distill.rate=1e-4..1e-3" or "search.family=bag,linear" (see
    `parse_setting`): a setting that is a knob of a family varies within them, any other is what they say, or as it was
    where that is among them. A family that can be none of what is wanted is not tried. Raises RecipeError for names
    and values that there are not, and where no family is left.
    """

    def __init__(self, facts: Facts, budget: Budget, narrowed: Sequence[str] = ()) -> None:
        self.budget = budget
        self._given = facts, tuple(narrowed)
        # those that a study chooses among, see `asks_of`
        self._named: tuple[str, ...] = ()
        self._set = {name: wanted for name, wanted in map(parse_setting, narrowed) if wanted != (None,)}
        pinned = {name: one[0] for name, one in self._set.items() if isinstance(one, tuple) and len(one) == 1}
        # of several sizes of a vocabulary the least has to have room
        several = {name: _smallest(one) for name, one in self._set.items() if name.endswith(".pieces")}
        largest = {name: most for name, one in self._set.items() if (most := _largest(one)) is not None}
        self.facts = replace(facts, pinned={**several, **pinned}, largest=largest)
        allowed = check_in_space(narrowed, facts)
        self.families = {name: family for name, family in allowed.items() if self._can(family)}
        if not self.families:
            given = ", ".join(name for name in self._set if not name.startswith(f"{OWN}."))
            raise RecipeError(f"set {given}: no student that is tried here ({', '.join(allowed)}) can be all of that")

    def _can(self, family: Family) -> bool:
        """Whether the family's students can be what was set."""
        if not family.chosen.isdisjoint(self._set):
            return False
        starts = family.starts(self.facts, self._budget(family))
        free = family.free(starts[-1].steps, self.facts) if starts else {}
        return all(meeting(free[name], wanted) is not None for name, wanted in self._set.items() if name in free)

    def _budget(self, family: Family) -> Budget:
        """The budget, with the bytes that memory leaves for a graph; where it leaves none the nearest miss is told."""
        room = self.facts.graph_room
        if room is None or room < SMALLEST_POCKET_BYTES or not family.has_graph:
            return self.budget
        most = self.budget.max_size
        return replace(self.budget, max_size=room if most is None else min(most, room))

    @cached_property
    def starts(self) -> list[Candidate]:
        """Candidates by rules of thumb, cheap ones first."""
        return [one for one in self._usual if one.family in self.knobs]

    def smallest(self, spare: int) -> int | None:
        """About how many bytes are the least that a rule of thumb has room in, whatever memory there is.

        spare: bytes of a file beside what it is filled with. None where LARGEST_LOOKED has no room, and of proposals
        of a teacher's parts, which take long to ask for.
        """
        facts, narrowed = self._given
        facts, size = replace(facts, allocator=None, graph_room=None), float(SMALLEST_POCKET_BYTES)
        while size < LARGEST_LOOKED:
            with suppress(RecipeError):
                if Space(facts, replace(self.budget, max_size=round(size)), narrowed).starts:
                    return round(size) + spare
            size *= LOOKED_STEP
        return None

    @cached_property
    def _usual(self) -> list[Candidate]:
        """Those of all families, whatever sizes were asked for."""
        found = []
        for family in self.families.values():
            for start in family.starts(self.facts, self._budget(family)):
                made = self._of_start(family.name, start)
                if made is not None:
                    found.append(replace(made, ladder=start.ladder))
        return sorted(found, key=lambda one: (self.families[one.family].order, one.expected_bytes))

    def _of_start(self, family: str, start: Start) -> Candidate | None:
        """The candidate that a rule of thumb comes to, as near as it may be."""
        free = self._free(self.families[family], start.steps)
        begun = {name: value_in(start.steps, name) for name in free}
        values = {name: free[name].nearest(value) for name, value in begun.items() if value is not None}
        open_ = [name for name, value in begun.items() if value is None]
        sizes = [_falling(free[name]) for name in open_]  # of a vocabulary as many as have room
        tried = ({**values, **dict(zip(open_, one, strict=True))} for one in product(*sizes))
        return next(filter(None, (self.candidate(family, start.size, one, start) for one in tried)), None)

    @cached_property
    def knobs(self) -> dict[str, dict[str, Knob]]:
        """{family: {"size" or "pass.setting": what it may be}}, of the families that have room in the budget."""
        found: dict[str, dict[str, Knob]] = {}
        refused: list[str] = []
        for name, family in self.families.items():
            sizes = [one.size for one in self._usual if one.family == name]
            if sizes:
                limited = self._budget(family).max_size is not None
                most = max(sizes) if limited else round(UNLIMITED * max(sizes))
                usual = family.starts(self.facts, self._budget(family))[-1]
                # where the smallest wins, rules of thumb are no reason to stop there
                few = LEAST_SHARE * (min(sizes) if self.budget.floor_alone else min(most, usual.enough or most))
                least = min(round(few), *(one // 2 for one in sizes))
                size: Knob | None = Whole(max(1, least), most, log=True)
                wanted = self._set.get(f"{OWN}.size")
                size = size if wanted is None or size is None else meeting(size, wanted)
                if size is None:
                    refused.append(f"{name} takes {max(1, least):,} to {most:,}")
                    continue
                found[name] = {"size": size, **self._free(family, usual.steps)}
        if refused and not found:
            raise RecipeError(
                f"set {OWN}.size: no student that is tried here has that size: {', '.join(refused)} bytes"
            )
        return found

    @cached_property
    def decisive(self) -> frozenset[str]:
        """Settings "pass.setting" that decide more than others, as their passes declare."""
        passes = {one for family in self.families.values() for one in family.passes}
        return frozenset(f"{one.name}.{name}" for one in passes for name in decisive_of(one))

    def _free(self, family: Family, steps: Steps) -> dict[str, Knob]:
        """The knobs of these steps as was asked; of rates that were not set, those around the rule of thumb."""
        free = {
            name: one
            for name, one in family.free(steps, self.facts).items()
            if name not in family.without and (name in self._set or not quiet_in(steps, name))
        }
        for name, allowed in free.items():
            if name in self._set:
                free[name] = meeting(allowed, self._set[name]) or allowed  # `_can` has seen that there is something
            elif name.endswith(".rate") and isinstance(allowed, Real):
                usual = value_in(steps, name)
                free[name] = allowed.between(max(allowed.low, usual / RATES), min(allowed.high, usual * RATES))
        return free

    def candidate(
        self, family: str, size: int | None, values: Mapping[str, Any], start: Start | None = None
    ) -> Candidate | None:
        """The recipe with these settings, filled to `size` bytes; None where it has no room there.

        start: what other settings are taken from; by default the last rule of thumb of the family.
        """
        kind = self.families[family]
        base = start or kind.starts(self.facts, self._budget(kind))[-1]
        try:
            steps = with_values(base.steps, {**self._pinned(kind, base.steps), **values})
        except ValueError:
            return None
        allowed = self._budget(kind).max_size
        # where its pieces need more than was asked for, as many are taken as there may be
        filled = kind.filled(steps, self.facts, size)
        if filled is None and kind.brimful:
            filled = kind.filled(steps, self.facts, allowed)
        if filled is None or (allowed is not None and filled.expected_bytes > allowed):
            return None
        recipe = Recipe(filled.steps, name=filled.name)
        return Candidate(recipe, filled.expected_bytes, "", family, size or filled.expected_bytes, dict(values))

    def asks_of(self, families: Sequence[str]) -> None:
        """Let a study that was begun choose among the families it began with: one that has no room now is refused."""
        self._named = tuple(families)

    @property
    def named(self) -> tuple[str, ...]:
        """The families that a study chooses among."""
        return self._named or tuple(self.knobs)

    def params(self, candidate: Candidate) -> dict[str, Any]:
        """The candidate as a study's parameters: "family", and its settings under the family's name."""
        own = {"size": candidate.size, **candidate.values}
        knobs = self.knobs[candidate.family]
        found = {f"{candidate.family}/{name}": knob.nearest(own[name]) for name, knob in knobs.items() if _varies(knob)}
        return {"family": candidate.family, **found} if len(self.named) > 1 else found

    def adopted(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Parameters of a study of another job, as near as they can be here; None where their family is not tried."""
        family = params.get("family", next(iter(self.named), ""))
        if family not in self.knobs:
            return None
        usual = next(one for one in reversed(self.starts) if one.family == family)
        found = self.params(usual)
        for name, knob in self.knobs[family].items():
            key = f"{family}/{name}"
            if key in found and key in params:
                found[key] = knob.nearest(params[key])
        return found

    def usual(
        self, family: str, size: int, kept: Mapping[str, Any], hopeless: Callable[[Candidate], Any]
    ) -> dict[str, Any] | None:
        """Parameters of the largest rule of thumb of a family within so many bytes; None where there is none.

        kept: parameters of a larger one, which read as much of a text as there was time for. hopeless: what of a
        candidate says that it is not to be tried.
        """
        if size < SMALLEST_POCKET_BYTES:
            return None
        for start in reversed(self.families[family].starts(self.facts, replace(self.budget, max_size=size))):
            made = self._of_start(family, start)
            if made is None or self.knobs[family]["size"].nearest(made.size) != made.size:
                continue
            params = self.params(made)
            params |= {name: value for name, value in kept.items() if name in params and name.endswith(READ_OF_A_TEXT)}
            # as a study asks for it, what is no knob is that of the family's last rule of thumb
            found = self.asked(params)
            if found is not None and found.expected_bytes <= size and not hopeless(found):
                return params
        return None

    def stepped(self, family: str, params: Mapping[str, Any], random: Generator) -> dict[str, Any]:
        """Parameters beside these: other bytes, and one other setting a little more or less."""
        found = dict(params)
        knobs = {f"{family}/{name}": knob for name, knob in self.knobs[family].items() if _varies(knob)}
        size = f"{family}/size"
        others = [name for name in knobs if name != size and name in found]
        chosen = [size] if size in knobs and size in found else []
        chosen += [others[random.integers(len(others))]] if others else []
        for name in chosen:
            found[name] = knobs[name].moved(found[name], random)
        return found

    def drawn(self, random: Generator) -> dict[str, Any]:
        """Parameters of any recipe."""
        family = self.named[int(random.integers(len(self.named)))]
        if family not in self.knobs:
            return {}
        found = {f"{family}/{name}": knob.drawn(random) for name, knob in self.knobs[family].items() if _varies(knob)}
        return {"family": family, **found} if len(self.named) > 1 else found

    def suggested(self, trial: Trial) -> Candidate | None:
        """The candidate that a study's trial asks for, or None where it has no room."""
        family = trial.suggest_categorical("family", self.named) if len(self.named) > 1 else self.named[0]
        if family not in self.knobs:
            return None
        return self._built(family, lambda name, knob: _suggest(trial, f"{family}/{name}", knob))

    def asked(self, params: Mapping[str, Any]) -> Candidate | None:
        """The candidate with these parameters of a study; None where it has no room, or they are of another space."""
        family = params.get("family", next(iter(self.named), ""))
        try:
            return self._built(family, lambda name, knob: params[f"{family}/{name}"])
        except KeyError:
            return None

    def _built(self, family: str, value: Callable[[str, Knob], Any]) -> Candidate | None:
        values = {
            name: value(name, knob) if _varies(knob) else knob.nearest(_first(knob))
            for name, knob in self.knobs[family].items()
        }
        size = int(values.pop("size"))
        return self.candidate(family, size, values)

    def _pinned(self, family: Family, steps: Steps) -> dict[str, Any]:
        """Settings that were set and are no knobs of the family: as they were where that is allowed."""
        free = family.free(steps, self.facts)
        own = {step.name for step in steps}
        found = {}
        for name, wanted in self._set.items():
            kind, _, setting = name.partition(".")
            if kind in own and name not in free and name not in family.without:
                found[name] = _allowed(value_in(steps, name), wanted, STUDENT_PASSES[kind], setting)
        return found


def _allowed(value: Any, wanted: Wanted, kind: Any, setting: str) -> Any:
    """The value where it is wanted, else what is wanted instead."""
    if isinstance(wanted, slice):
        return min(wanted.stop, max(wanted.start, value))
    if _is_list(kind, setting):
        return wanted
    return value if value in wanted else wanted[0]


def _is_list(kind: Any, setting: str) -> bool:
    return get_origin(settings_of(kind)[setting]) is tuple


def check_in_space(narrowed: Sequence[str], facts: Facts) -> dict[str, Family]:
    """The families that are tried, by name.

    Of those that are named, families that do not suit the job are left out as long as one does; those that few texts
    teach little are tried where they are named. Raises RecipeError where none does, and for a setting that no pass of
    any of them has.
    """
    given = dict(parse_setting(one) for one in narrowed)
    wanted = given.get(f"{OWN}.family")
    families = families_for(facts, named=wanted is not None)
    try:
        names = [one.name for one in families]
        if wanted is not None:
            asked = Choice(tuple(one.name for one in FAMILIES)).narrowed(_listed(wanted)).values
            names = [name for name in names if name in asked]
            if not names:
                why = "; ".join(f"{name} {unsuited(name, facts)}" for name in asked)
                raise ValueError(f"{why}. Tried here: {', '.join(one.name for one in families)}")
    except ValueError as error:
        raise RecipeError(f"set {OWN}.family: {error}") from None
    found = {one.name: one for one in families if one.name in names}
    known = {f"{OWN}.family", f"{OWN}.size"}
    known |= {f"{step.name}.{one.name}" for family in found.values() for step in family.passes for one in fields(step)}
    for name in given:
        if name not in known:
            near = did_you_mean(name, sorted(known))
            raise RecipeError(f"set {name}: no pass of a student tried here has this setting.{near}")
    return found


def check_settings(narrowed: Sequence[str]) -> None:
    """Raise RecipeError for a setting that no pass of a student has, or a value it cannot have; see `Space`."""
    for one in narrowed:
        name, wanted = parse_setting(one)
        kind, _, setting = name.partition(".")
        own: list[str] = ["family", "size"]
        if kind != OWN:
            if kind not in STUDENT_PASSES:
                names = [OWN, *STUDENT_PASSES]
                raise RecipeError(f"set {name}: {kind!r} is none of {', '.join(names)}.{did_you_mean(kind, names)}")
            own = list(settings_of(STUDENT_PASSES[kind]))
        if setting not in own:
            near = did_you_mean(setting, own)
            raise RecipeError(f"set {name}: {kind} has the settings {', '.join(own)}.{near}")
        try:
            _check_value(kind, setting, wanted)
        except ValueError as error:
            raise RecipeError(f"set {name}: {error}") from None
    _check_together(dict(parse_setting(one) for one in narrowed))


def _check_together(given: Mapping[str, Wanted]) -> None:
    """Raise RecipeError where a pass has something against what is set of it."""
    passes: dict[str, dict[str, Any]] = {}
    for name, wanted in given.items():
        kind, _, setting = name.partition(".")
        if kind != OWN and isinstance(wanted, tuple):
            own = passes.setdefault(kind, {})
            own[setting] = wanted if _is_list(STUDENT_PASSES[kind], setting) else wanted[0]
    for kind, settings in passes.items():
        pass_: Any = STUDENT_PASSES[kind]
        needed = {one.name: 1 for one in fields(pass_) if one.default is MISSING and one.default_factory is MISSING}
        try:
            pass_(**{**needed, **settings})
        except ValueError as error:
            said = ", ".join(f"{kind}.{setting}" for setting in settings)
            raise RecipeError(f"set {said}: {error}") from None


def _check_value(kind: str, setting: str, wanted: Wanted) -> None:
    """Raise ValueError where a setting cannot be that."""
    pass_: Any = None if kind == OWN else STUDENT_PASSES[kind]
    if wanted == (None,) and pass_ and any(one.name == setting and one.default is None for one in fields(pass_)):
        return  # as it is
    declared: Mapping[str, Knob] = {"family": Choice(tuple(one.name for one in FAMILIES)), "size": SIZES}
    allowed = (knobs_of(pass_) if pass_ else declared).get(setting)
    if allowed is not None:
        _ = allowed.between(wanted.start, wanted.stop) if isinstance(wanted, slice) else allowed.narrowed(wanted)
        return
    if isinstance(wanted, slice) or (len(wanted) != 1 and not _is_list(pass_, setting)):
        raise ValueError("is no knob of a search; give it one value")
    hint = settings_of(pass_)[setting]
    what = unfit(wanted if _is_list(pass_, setting) else wanted[0], hint)
    if what:
        raise ValueError(f"is {what}, got {', '.join(map(str, wanted))}")


def _first(knob: Knob) -> Any:
    return knob.values[0] if isinstance(knob, Choice) else knob.low


def _smallest(wanted: Wanted) -> Any:
    return wanted.start if isinstance(wanted, slice) else min(wanted)


def _largest(wanted: Wanted) -> Any:
    """The largest number, True over False; None where there are none."""
    numbers = [wanted.stop] if isinstance(wanted, slice) else [one for one in wanted if isinstance(one, int | float)]
    return max(numbers, default=None)


def _falling(knob: Knob) -> list[Any]:
    """Values from the highest down: all of some, or STEPS_DOWN of a range."""
    if isinstance(knob, Choice):
        return sorted(knob.values, reverse=True)
    return [knob.nearest(one) for one in np.geomspace(knob.high, knob.low, STEPS_DOWN)]


def _varies(knob: Knob) -> bool:
    """Whether there is more than one value."""
    return len(knob.values) > 1 if isinstance(knob, Choice) else knob.low < knob.high


def _suggest(trial: Trial, name: str, knob: Knob) -> Any:
    if isinstance(knob, Choice):
        return trial.suggest_categorical(name, knob.values)
    if isinstance(knob, Whole):
        return trial.suggest_int(name, knob.low, knob.high, step=knob.step, log=knob.log)
    return trial.suggest_float(name, knob.low, knob.high, log=knob.log)


def _listed(wanted: Wanted) -> tuple[Any, ...]:
    if isinstance(wanted, slice):
        raise ValueError("is a list of names")
    return wanted


def fast_enough(tried: Sequence[Candidate], too_slow: Callable[[Recipe], str]) -> list[Candidate]:
    """The candidates without those of a ladder that is slower than allowed or has a larger one that is not.

    The smallest of a ladder stays where all are too slow, so that the reader of a report is told.
    """
    found: list[Candidate] = []
    for one in tried:
        rungs = [other for other in tried if one.ladder and other.ladder == one.ladder]
        if not rungs:
            found.append(one)
        elif one is rungs[0]:
            fast = (rung for rung in reversed(rungs) if not too_slow(rung.recipe))
            found.append(next(fast, one))
    return found


def given_recipe(path: str) -> Recipe:
    """The students' recipe in a YAML file, or of a Pocket. Raises RecipeError, PocketFileError."""
    if not path.endswith(".pocket"):
        return recipe_in(path, STUDENT_PASSES)
    steps = read_pocket(Path(path)).manifest.get("provenance", {}).get("recipe")
    if not steps:
        raise RecipeError(f"{path}: says nothing of the recipe it was made by")
    return Recipe.from_json(steps, STUDENT_PASSES, f"the recipe of {Path(path).name}")
