"""What `fit` is asked to do: one frozen description, from Python, a YAML file or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pocketlm.budget import Budget
from pocketlm.errors import RecipeError
from pocketlm.tables import did_you_mean
from pocketlm.units import parse_duration, parse_share

# Subword pieces read at once where a job says nothing: of a question and its context, of each side of a pair to
# translate, of text to model, and of anything else.
PIECES_READ = {"question-answering": 384, "translation": 256, "generation": 256, "": 64}
# Variants of each text that the teacher labels. Contexts are long: the same time is better spent on them as they are.
VARIANTS = {"question-answering": 0, "": 8}
# Of more texts than these, variants included, each row has fewer variants, but one: a teacher takes long to ask, and
# many rows are various themselves.
VARIED = 65_000
# Ways to teach with few labelled rows, beside plain fine-tuning (train.few_shot), in the order they are tried.
FEW_SHOT = ("frozen", "contrastive", "self-training")

# What may ask for recipes: a Gaussian process that goes on from rules of thumb, or chance, to compare with.
SAMPLERS = ("gp", "random")
# Shares of the usual training that may be asked for.
LEAST_EFFORT, MOST_EFFORT = 0.01, 10.0
# The name among `also` that stands for the sources that help.
AUTO = "auto"
# Types that a setting of another type may be written as: 3 for 3.0.
_ALSO_TAKEN = {"float": ("int",)}
# What types of settings are called.
_KINDS = {
    "str": 'a text, in quotes, such as "1MB"',
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


@dataclass(frozen=True)
class Job:
    """A fit. Sizes, times and shares are texts with units, as on the command line.

    data: a file, two aligned ones (train.en,train.sw), a folder, smart-home:LANG or a hub name; dev, test, unlabelled:
    files. text, label, slots, tags, context, answer, pair, score, source, target: columns. task: where the columns do
    not say it, such as similarity for texts with labels or alone. width: dimensions of vectors. teacher: a folder, hub
    name or pypi:PACKAGE. floor: bounds on figures beside the main metric, such as "recall[joy]>=0.8". device: "host",
    or the file of another machine that latency and memory are estimated for. output: the Pocket to write. work: folder
    for what can be resumed (default: beside the output). variants: unlabelled variants a training text, labelled by the
    teacher. refit: train the chosen recipe again on train and dev rows before the test rows are read. max_length:
    pieces read of a text, of each side of a pair to translate, of a question and its context at once, or of a window of
    text to model. Without variants and max_length these are what suits the task and its rows. focus: pieces read of a
    question and a longer context in all, for answers in less time. keep_best: write the nearest miss too. force:
    replace files.
    augment: methods by name whose rows are added to training, "auto" for those whose gain on held-out rows is sure, or
    "none". language: the rows', where a method needs to know it. few_shot: ways by name that the teacher is trained by
    beside plain fine-tuning, "auto" for those that may help so few rows, or "none"; dev chooses. abstain: the largest
    share of wrong answers, as dev shows: a Pocket less sure of a text does not answer it. out_of_scope: the class of
    texts that are not to be answered. also: other languages or sources whose training rows are learnt from too, mixed
    with `mix_temperature`; "auto" for those, of the ones named or of data's siblings, that help. shots: so many rows of
    `data` are all there is beside its test; 0 for none. teacher_anyway: use the teacher though it does not cover the
    language. recipe: a YAML file with the one recipe to try, or a Pocket whose recipe it is. compete: more recipes,
    that compete with those searched. set: what settings of the search may be, such as "quantize.bits=4,8". trials:
    recipes that are tried; None for those of rules of thumb and, of not too many texts, a few around them.
    effort: how much training a recipe gets, 1 being what suits it: 0.25 is a quick look, 2 takes twice as long.
    add_trials: so many more than a search tried before. resume: go on with a search that there has to be; without
    it one is begun where there is none.
    sampler: what asks for recipes, of SAMPLERS. storage: where the study of the search is kept, a database URL; None
    for a file in `work`. ray: the address of a Ray cluster that tries recipes and asks the teacher, or "local" for one
    that is started here. workers: recipes that are tried at once; without a cluster so many are asked for ahead, as
    with one. data_parallel: processes of the cluster that fine-tune the teacher together.
    """

    data: str
    dev: str | None = None
    test: str | None = None
    unlabelled: str | None = None
    text: str | None = None
    label: str | None = None
    slots: str | None = None
    tags: str | None = None
    context: str | None = None
    answer: str | None = None
    pair: str | None = None
    score: str | None = None
    task: str | None = None
    width: int | None = None
    multi_label: bool = False
    source: str | None = None
    target: str | None = None
    teacher: str | None = None
    max_size: str | None = None
    max_latency: str | None = None
    max_memory: str | None = None
    min_quality: str | None = None
    floor: tuple[str, ...] = ()
    device: str = "host"
    output: str = "model.pocket"
    work: str | None = None
    seed: int = 0
    variants: int | None = None
    refit: bool = True
    augment: str = "none"
    language: str | None = None
    few_shot: str = "auto"
    abstain: str | None = None
    out_of_scope: str | None = None
    also: tuple[str, ...] = ()
    shots: int | None = None
    mix_temperature: float = 5.0
    teacher_anyway: bool = False
    recipe: str | None = None
    compete: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    trials: int | None = None
    effort: float = 1.0
    add_trials: int | None = None
    resume: bool = False
    sampler: str = "gp"
    storage: str | None = None
    ray: str | None = None
    workers: int | None = None
    data_parallel: int = 1
    max_length: int | None = None
    focus: int | None = None
    time_limit: str | None = None
    keep_best: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        self._take_texts()
        if (self.variants is not None and self.variants < 0) or (self.max_length is not None and self.max_length < 8):
            raise RecipeError("variants is at least 0 and max_length at least 8")
        if self.focus is not None and self.focus < 32:
            raise RecipeError(
                f"focus is at least 32 pieces, a question and what is read of its context; got {self.focus}"
            )
        if self.width is not None and self.width < 2:
            raise RecipeError(f"width is at least 2 dimensions, got {self.width}")
        _check_seed(self.seed)
        _check_ways(self.few_shot)
        if self.sampler not in SAMPLERS:
            near = did_you_mean(self.sampler, list(SAMPLERS))
            raise RecipeError(f"sampler: {self.sampler!r} is none of {', '.join(SAMPLERS)}.{near}")
        _check_counts("recipes to try", trials=self.trials, add_trials=self.add_trials)
        _check_counts("processes", workers=self.workers, data_parallel=self.data_parallel)
        if self.data_parallel > 1 and self.ray is None:
            raise RecipeError("data_parallel: processes that fine-tune together are those of a cluster; give ray")
        _check_effort(self.effort)
        _ = self.seconds
        if self.shots is not None and self.shots < 0:
            raise RecipeError(f"shots is a number of rows, at least 0, got {self.shots}")
        if self.shots == 0 and not self.also:
            raise RecipeError("shots: 0 leaves no row to learn from; name other sources with also")
        if self.mix_temperature < 1:
            raise RecipeError(f"mix_temperature is at least 1 (rows as many as they are), got {self.mix_temperature}")
        if not self.output.endswith(".pocket"):
            raise RecipeError(f"the output {self.output!r} must end in .pocket")

    def _take_texts(self) -> None:
        """One text for several, a list for a tuple, and a mapping of settings, as YAML has them, from Python too."""
        if isinstance(self.set, Mapping):
            object.__setattr__(self, "set", _settings(self.set, "job"))
        for name in (one.name for one in fields(self) if isinstance(one.default, tuple)):
            object.__setattr__(self, name, _texts(getattr(self, name), f"job: {name}"))

    def for_task(self, task: str, rows: int = 0) -> Job:
        """The job with what suits the task where it says nothing. rows: to train on."""
        length = PIECES_READ.get(task, PIECES_READ[""]) if self.max_length is None else self.max_length
        variants = self.variants
        if variants is None:
            variants = min(VARIANTS.get(task, VARIANTS[""]), max(1, VARIED // max(1, rows) - 1))
        return replace(self, max_length=length, variants=variants)

    @property
    def budget(self) -> Budget:
        """The limits. Raises UnitError or BudgetError."""
        return Budget.parse(self.max_size, self.max_latency, self.max_memory, self.min_quality, self.floor)

    @property
    def error(self) -> float | None:
        """The share of answers that may be wrong. Raises UnitError."""
        return None if self.abstain is None else parse_share(self.abstain)

    @property
    def seconds(self) -> float | None:
        """The time limit in seconds. Raises RecipeError for none at all, UnitError for what is no time."""
        found = None if self.time_limit is None else parse_duration(self.time_limit)
        if found is not None and found <= 0:
            raise RecipeError(f"time_limit is {self.time_limit!r}; it is above 0, such as 10m")
        return found

    @property
    def report(self) -> Path:
        """Where the report goes: report.html beside the Pocket, named after it."""
        return Path(self.output).with_suffix(".report.html")

    @property
    def work_folder(self) -> Path:
        """Where unfinished and measured work is kept."""
        return Path(self.work) if self.work else Path(self.output).with_suffix(".work")


@dataclass(frozen=True)
class Result:
    """What `fit` did. pocket: the file written, or None. data: all of it, as the report shows it."""

    pocket: Path | None
    report: Path
    data: dict[str, Any]

    @property
    def met(self) -> bool:
        """Whether the Pocket meets every limit that was set."""
        return bool(self.data["status"] != "missed")


def _check_counts(what: str, **counts: int | None) -> None:
    """Raise RecipeError for a number of these below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise RecipeError(f"{name} is a number of {what}, at least 1; got {count}")


def _check_seed(seed: int) -> None:
    """Raise RecipeError for a seed that random generators do not take."""
    if not 0 <= seed < 2**32:
        raise RecipeError(f"seed is from 0 to {2**32 - 1}, got {seed}")


def _check_effort(effort: float) -> None:
    """Raise RecipeError for a share of the usual training that nobody can mean."""
    if not LEAST_EFFORT <= effort <= MOST_EFFORT:
        raise RecipeError(f"effort is between {LEAST_EFFORT} and {MOST_EFFORT:g}, 1 as usual; got {effort:g}")


def _check_ways(few_shot: str) -> None:
    """Raise RecipeError for a way to teach with few rows that there is not."""
    for way in few_shot.split(","):
        if few_shot not in ("auto", "none") and way.strip() not in FEW_SHOT:
            known = ["auto", "none", *FEW_SHOT]
            raise RecipeError(f"few-shot: {way!r} is none of {', '.join(known)}.{did_you_mean(way.strip(), known)}")


def job_from_mapping(value: Mapping[str, Any], where: str = "job") -> Job:
    """The job described by plain data. Raises RecipeError for unknown keys, with the nearest name."""
    allowed = {one.name: one for one in fields(Job)}
    for key, setting in value.items():
        if key not in allowed:
            raise RecipeError(
                f"{where}: unknown key {key!r}; there is {', '.join(allowed)}.{did_you_mean(key, list(allowed))}"
            )
        kind = str(allowed[key].type).partition(" ")[0]
        if kind.startswith("tuple"):
            setting = _settings(setting, where) if key == "set" and isinstance(setting, Mapping) else setting
            value = {**value, key: _texts(setting, f"{where}: {key}")}
        elif setting is not None and type(setting).__name__ not in (kind, *_ALSO_TAKEN.get(kind, ())):
            raise RecipeError(f"{where}: {key} is {setting!r}; it must be {_KINDS.get(kind, kind)}")
    if "data" not in value:
        raise RecipeError(
            f"{where}: the key 'data' is missing; it names a file, a folder, smart-home:LANG or a hub data set"
        )
    return Job(**value)


def _settings(given: Mapping[Any, Any], where: str) -> list[str]:
    """Settings of a search as the command line has them, of {"quantize.bits": [4, 8]}. Raises RecipeError."""
    found = []
    for name, value in given.items():
        values = value if isinstance(value, list | tuple) else [value]
        if not all(one is None or isinstance(one, str | int | float) for one in values):
            raise RecipeError(f"{where}: set: {name} is {value!r}; it must be a value, a list of them, or LOW..HIGH")
        found.append(f"{name}={','.join(str(one) for one in values)}")
    return found


def _texts(setting: object, where: str) -> tuple[str, ...]:
    """One text or a list of them. Raises RecipeError."""
    texts = [setting] if isinstance(setting, str) else list(setting) if isinstance(setting, list | tuple) else [None]
    if not all(isinstance(one, str) for one in texts):
        raise RecipeError(f"{where} is {setting!r}; it must be a name or a list of names")
    return tuple(map(str, texts))


def read_job(path: Path, overrides: Mapping[str, Any]) -> Job:
    """The job in a YAML file, with `overrides` in place of its own settings. Raises RecipeError."""
    import yaml

    try:
        value = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: is not YAML ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(value, dict):
        raise RecipeError(f"{path}: is not a mapping of settings such as data: train.csv")
    return job_from_mapping({**value, **overrides}, str(path))
