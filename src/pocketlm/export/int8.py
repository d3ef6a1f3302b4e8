"""int8 matrices in a graph, and the gate that keeps them only where they earn it.

Weights are symmetric per output channel with 7 bits used (reduce_range), so that processors without VNNI do
not saturate and the same file gives the same answers everywhere. Activations are quantized per tensor, as they
come ("dynamic") or with ranges calibrated on training texts ("static").
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto

from pocketlm.runtime.inputs import Arrays

# What onnxruntime's optimizer turns quantized matrix products into when it fuses them.
FUSED = ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm", "QLinearMatMul", "QAttention")
UNFUSED = ("MatMulInteger",)
# int8 must be at least this much faster, or the machine's noise decides.
LEAST_GAIN = 0.97
CALIBRATION_TEXTS = 200


@dataclass(frozen=True)
class Int8Verdict:
    """What the gate found and decided.

    kind: "dynamic", "static" or "float". fused, unfused: integer matrix products in the optimized graph.
    ratio: int8's time over float's. quality, float_quality: the main metric on dev.
    """

    kind: str
    verdict: str
    why: str
    fused: int
    unfused: int
    ratio: float
    quality: float
    float_quality: float

    def to_json(self) -> dict[str, Any]:
        """Plain data, with all integer products counted."""
        return {**asdict(self), "integer_matmuls": self.fused + self.unfused}


def dynamic_int8(graph: ModelProto) -> ModelProto:
    """Matrix products with int8 weights; activation ranges are found at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    return _through_files(
        graph,
        lambda source, target: quantize_dynamic(
            source, target, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"], extra_options={"MatMulConstBOnly": True},
        ),
    )  # fmt: skip


def static_int8(graph: ModelProto, batches: Sequence[Arrays]) -> ModelProto:
    """Matrix products with int8 weights and activation ranges calibrated (min-max) on `batches`."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(batches)

        def get_next(self) -> Arrays | None:
            return next(self._left, None)

    return _through_files(
        graph,
        lambda source, target: quantize_static(
            source, target, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"],
            extra_options={"MatMulConstBOnly": True, "ActivationSymmetric": False},
        ),
    )  # fmt: skip


def _through_files(graph: ModelProto, quantize: Callable[[str, str], None]) -> ModelProto:
    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(graph, source)
        root.setLevel(logging.ERROR)
        try:
            quantize(str(source), str(target))
        finally:
            root.setLevel(level)
        done = onnx.load(target)
    # the quantizer orders weights by hash of their names in places: fix the order, so that bytes repeat
    constants = sorted(done.graph.initializer, key=lambda one: one.name)
    del done.graph.initializer[:]
    done.graph.initializer.extend(constants)
    done.graph.ClearField("value_info")
    return done


def count_integer_products(data: bytes) -> tuple[int, int]:
    """(fused, unfused) integer matrix products once onnxruntime has optimized the graph."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder, "optimized.onnx"))
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    return sum(kind in FUSED for kind in kinds), sum(kind in UNFUSED for kind in kinds)


def time_ratio(data: bytes | str, other: bytes | str, batches: Sequence[Arrays], rounds: int = 5) -> float:
    """Time of graph `data` over `other`'s, or of those in the files so called, on one thread.

    The median over rounds in which they take turns.
    """
    sessions = [_session(one) for one in (data, other)]
    ratios = []
    for turn in range(rounds + 1):
        spent = []
        for session in sessions:
            begin = time.perf_counter()
            for arrays in batches:
                session.run(None, arrays)
            spent.append(time.perf_counter() - begin)
        if turn:  # the first round warms up
            ratios.append(spent[0] / spent[1])
    return float(np.median(ratios))


def graph_call(data: bytes) -> Callable[[Arrays], Any]:
    """What runs the graph on a batch, on one thread."""
    session = _session(data)
    return lambda arrays: session.run(None, arrays)


def _session(data: bytes | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def gate(
    graph: bytes,
    candidates: Sequence[tuple[str, bytes]],
    batches: Sequence[Arrays],
    quality: Callable[[bytes], float],
    max_loss: float,
    named: bool = False,
) -> Int8Verdict:
    """Whether int8 earns its place: the fastest of `candidates` that is fused, faster and good enough on dev.

    graph: the float graph. batches: single texts to time on. quality: the main metric of a graph on dev. named: whether
    the one candidate was asked for by name, or chosen before: its time is told, and decides nothing.
    """
    base = quality(graph)
    none = "float was asked for, or chosen before" if named else "no int8 graph could be made"
    refused = Int8Verdict("float", "kept float", none, 0, 0, 1.0, base, base)
    kept: Int8Verdict | None = None
    for kind, data in candidates:
        fused, unfused = count_integer_products(data)
        ratio, figure = time_ratio(data, graph, batches), quality(data)
        reason = _objection(fused, unfused, 0.0 if named else ratio, base - figure, max_loss)
        text = f"{kind} int8: {fused} fused integer products, {ratio:.2f}× float's time, {figure - base:+.4f} on dev"
        if reason:
            refused = Int8Verdict("float", "kept float", f"{text}; {reason}", fused, unfused, ratio, figure, base)
        elif kept is None or ratio < kept.ratio:
            kept = Int8Verdict(kind, f"kept {kind} int8", text, fused, unfused, ratio, figure, base)
    return kept or refused


def _objection(fused: int, unfused: int, ratio: float, loss: float, max_loss: float) -> str:
    if not fused:
        return f"none of its {unfused} integer products is fused by the runtime"
    if ratio > LEAST_GAIN:
        return "not faster than float here"
    if loss > max_loss:
        return f"loses more than the {max_loss:g} allowed"
    return ""
