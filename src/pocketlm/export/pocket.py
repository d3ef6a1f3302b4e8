"""From a trained model to the members of a Pocket, proved to say what the module said."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pocketlm.errors import PocketLMError
from pocketlm.export.bag import bag_members
from pocketlm.export.int8 import CALIBRATION_TEXTS, Int8Verdict, dynamic_int8, gate, graph_call, static_int8
from pocketlm.export.onnx import store_floats, store_tables, to_bytes, trace
from pocketlm.model.bag import BagModule
from pocketlm.model.stack import StackModule, unstack
from pocketlm.model.task_model import TaskModel
from pocketlm.outputs import texts_of
from pocketlm.runtime.bag import BagModel
from pocketlm.runtime.graph import GraphModel
from pocketlm.runtime.inputs import Arrays, PieceInputs, Text
from pocketlm.runtime.load import RunnableModel, predict_all
from pocketlm.runtime.stack import StackModel
from pocketlm.runtime.vectors import cosine
from pocketlm.runtime.windows import QuestionInputs
from pocketlm.train.context import FitContext
from pocketlm.train.teach import ask

logger = logging.getLogger(__name__)

# Share of texts (or words) whose best label must be the same in torch and in the runtime, both in float32.
PARITY = 0.999
# Medians of which the lowest is taken: a machine that is busy for a moment only adds.
ROUNDS = 2
# Vectors count as the same from this cosine on.
SAME_DIRECTION = 0.9999


@dataclass(frozen=True)
class Exported:
    """A model ready to be written: the manifest's "model" section, the members, and how it went."""

    about: dict[str, Any]
    members: dict[str, bytes]
    agreement: float
    int8: Int8Verdict | None = None
    notes: tuple[str, ...] = field(default=())


def export(model: TaskModel, context: FitContext) -> Exported:
    """The model as the runtime reads it. Raises PocketLMError where runtime and torch disagree in float32."""
    if isinstance(model.module, BagModule):
        return _export_bag(model, context)
    if isinstance(model.module, StackModule):
        return _export_stack(model, context)
    return _export_graph(model, context)


def _dev_texts(model: TaskModel, context: FitContext, count: int = 1000) -> list[Text]:
    return list(texts_of(context.dev[:count], model.spec.outputs))


def agreement(model: TaskModel, runnable: RunnableModel, texts: Sequence[Text]) -> float:
    """Share of texts and words for which torch and the runtime prefer the same label, or point the same way."""
    said = ask(model, texts)
    same: list[np.ndarray] = []
    for begin in range(0, len(texts), 64):
        encoded = model.inputs.encode(texts[begin : begin + 64])
        logits = runnable.run(model.inputs.collate(encoded))
        for output in model.spec.outputs:
            rows = list(said.logits[output.name][begin : begin + 64])
            if output.kind == "span":
                same.append(_same_places(rows, logits[output.name]))
                continue
            theirs = np.concatenate(rows) if output.kind == "tags" else np.stack(rows)
            if output.kind == "vector":
                same.append(cosine(theirs, logits[output.name]) > SAME_DIRECTION)
            elif output.kind == "multi":
                same.append(((theirs > 0) == (logits[output.name] > 0)).all(axis=1))
            else:
                same.append(theirs.argmax(axis=1) == logits[output.name].argmax(axis=1))
    return float(np.concatenate(same).mean())


def _same_places(rows: Sequence[np.ndarray], logits: np.ndarray) -> np.ndarray:
    """Whether the likeliest begin and end of each text are the same: (pieces, 2) of each, and (texts, most, 2)."""
    pairs = zip(rows, logits, strict=True)
    return np.array([np.array_equal(own.argmax(axis=0), one[: len(own)].argmax(axis=0)) for own, one in pairs])


def _prove(share: float) -> float:
    if share < PARITY:
        raise PocketLMError(f"the exported model agrees with torch on {share:.2%} of dev only; {PARITY:.1%} is asked")
    return share


def _export_bag(model: TaskModel, context: FitContext) -> Exported:
    spec, module = model.spec, model.module
    assert isinstance(module, BagModule)
    whole = replace(model, spec=replace(spec, bits={}))
    bits, module.bits = module.bits, 0
    try:
        about, members = bag_members(whole)
        share = _prove(agreement(whole, BagModel(about, members, spec.outputs), _dev_texts(model, context)))
    finally:
        module.bits = bits
    about, members = bag_members(model)
    return Exported(about, members, share)


def _export_stack(model: TaskModel, context: FitContext) -> Exported:
    """Both parts, each proved by itself; what int8 costs the encoder is judged by what the two say together."""
    encoder, bag = unstack(model)
    second = _export_bag(bag, context)
    beside = BagModel(second.about, second.members, model.spec.outputs)
    first = _export_graph(encoder, context, _Beside(model, beside))
    inputs = {"kind": "stack", "pieces": first.about["inputs"], "ngrams": second.about["inputs"]}
    about = {"kind": "stack", "inputs": inputs, "bag": second.about}
    return Exported(about, {**first.members, **second.members}, min(first.agreement, second.agreement), first.int8)


@dataclass(frozen=True)
class _Beside:
    """What an encoder stands in: the whole stack, and its bag as the runtime runs it."""

    whole: TaskModel
    bag: BagModel


def _export_graph(model: TaskModel, context: FitContext, beside: _Beside | None = None) -> Exported:
    inputs = model.inputs
    assert isinstance(inputs, (PieceInputs, QuestionInputs))
    graph = trace(model)
    texts = _dev_texts(model, context)
    share = _prove(agreement(model, GraphModel(to_bytes(graph), model.spec.outputs, 0), texts))
    verdict = None
    if model.spec.bits:
        graph = store_tables(graph, model.spec.bits["table"])
        verdict, data = _int8(model, context, graph, beside)
    else:
        data = to_bytes(graph)
    read: dict[str, Any] = {"kind": "pieces", "tagging": inputs.tagging}
    if isinstance(inputs, QuestionInputs):
        read = {"kind": "questions", "reading": inputs.reading.to_json()}
    about = {"kind": "onnx", "inputs": {**read, "max_length": inputs.max_length, "pad_id": inputs.pad_id}}
    members = {"graph.onnx": data, "tokenizer.json": inputs.tokenizer.to_str().encode()}
    return Exported(about, members, share, verdict)


def _int8(model: TaskModel, context: FitContext, graph: Any, beside: _Beside | None) -> tuple[Int8Verdict, bytes]:
    """The gate's verdict and the bytes of the graph it kept."""
    settings = model.spec.settings
    quality = _quality_on_dev(model, context, beside)
    wanted = settings.get("activations", "auto")
    made: dict[str, Any] = {}
    if wanted in ("dynamic", "auto"):
        made["dynamic"] = dynamic_int8(graph)
    if wanted in ("static", "auto"):
        made["static"] = static_int8(graph, _calibration(model, context))
    singles = _singles(model, context, 60)
    max_loss = float(settings.get("max_loss", 0.005))
    candidates = [(kind, to_bytes(one)) for kind, one in made.items()]
    verdict = gate(to_bytes(graph), candidates, singles, quality, max_loss, named=wanted != "auto")
    if verdict.kind != "float":
        return verdict, to_bytes(store_floats(made[verdict.kind], 16))
    folded = _copy(graph)
    data = to_bytes(store_floats(folded, 8))
    if verdict.float_quality - quality(data) <= max_loss:
        return verdict, data
    return verdict, to_bytes(store_floats(graph, 16))


def untrained_latency(model: TaskModel, context: FitContext) -> float:
    """Median milliseconds of the student on single dev texts, one thread, in int8, trained or not.

    A text is read, run and decoded as a Pocket does it: parts that take turns wait for each other's memory, and take
    longer than each by itself. Of questions the graph alone counts, beside which the rest is next to nothing.
    """
    outputs = model.spec.outputs
    encoder, bag = unstack(model) if isinstance(model.module, StackModule) else (model, None)
    bag = model if isinstance(model.module, BagModule) else bag
    if bag is not None:
        bag = replace(bag, spec=replace(bag.spec, bits={"table": 8, "linear": 8}))
    counted = None if bag is None else BagModel(*bag_members(bag), outputs)
    runnable: RunnableModel
    if counted is not None and not isinstance(model.module, StackModule):
        runnable = counted
    else:
        data = to_bytes(dynamic_int8(store_tables(trace(encoder), 8)))
        if isinstance(model.inputs, QuestionInputs):
            return _median(graph_call(data), _singles(encoder, context, 100))
        graph = GraphModel(data, outputs, 1)
        runnable = graph if counted is None else StackModel(graph, counted)
    return _median(
        lambda text: predict_all(model.inputs, runnable, outputs, [text], 1), _dev_texts(model, context, 100)
    )


def _median(call: Callable[[Any], object], given: Sequence[Any]) -> float:
    """Median milliseconds of a call with each of what is given, after a warm-up; the lowest of some rounds' medians."""
    rounds = []
    for _ in range(1 + ROUNDS):
        spent = []
        for one in given:
            began = time.perf_counter()
            call(one)
            spent.append(time.perf_counter() - began)
        rounds.append(float(np.median(spent)))
    return min(rounds[1:]) * 1e3


def _singles(model: TaskModel, context: FitContext, count: int) -> list[Arrays]:
    """So many dev texts as they are read, the first window of a question, one a batch."""
    texts, inputs = _dev_texts(model, context, count), model.inputs
    if isinstance(inputs, QuestionInputs):
        return [inputs.collate([own[0][1]]) for own in inputs.windows(texts)]
    return _batches(model, texts, 1)


def _copy(graph: Any) -> Any:
    twin = type(graph)()
    twin.CopyFrom(graph)
    return twin


def _calibration(model: TaskModel, context: FitContext) -> list[Arrays]:
    """Training texts spread over the whole lesson, the longest one among them, eight a batch."""
    texts = context.lesson.texts
    step = max(1, len(texts) // CALIBRATION_TEXTS)
    longest = max(texts, key=len)
    return list(_batches(model, [longest, *texts[::step][:CALIBRATION_TEXTS]], 8))


def _batches(model: TaskModel, texts: Sequence[Text], size: int) -> list[Arrays]:
    encoded = model.inputs.encode(texts)
    return [model.inputs.collate(encoded[at : at + size]) for at in range(0, len(encoded), size)]


def _quality_on_dev(model: TaskModel, context: FitContext, beside: _Beside | None) -> Callable[[bytes], float]:
    texts, outputs = texts_of(context.dev, model.spec.outputs), model.spec.outputs
    inputs = model.inputs if beside is None else beside.whole.inputs

    def quality(data: bytes) -> float:
        graph = GraphModel(data, outputs, 0)
        runnable = graph if beside is None else StackModel(graph, beside.bag)
        # one text at a time: dynamic ranges depend on what shares a batch, and Pockets mostly read single texts
        said = predict_all(inputs, runnable, outputs, texts, 1)
        figures: Mapping[str, float] = context.task.figures(context.dev, said, outputs)
        return figures[context.task.main_metric]

    return quality
