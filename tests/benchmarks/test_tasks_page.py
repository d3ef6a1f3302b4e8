"""The page of tasks says what their benchmarks found, and nothing of those that were not run."""

import pytest
from tasks_page import PARTS, page

MACHINE = {"cpu": "a processor", "vectors": "AVX2", "cores": 2, "python": "3.11", "versions": {"torch": "2"}}
TAKEN = {"machine": MACHINE, "date": "2026-01-02"}


def value(mean):
    return {"value": mean, "low": mean - 0.01, "high": mean + 0.01}


def side(perplexity):
    types = {"Q4_0": 210, "F32": 61, "Q8_0": 1}
    return {
        "tensor_bytes": 81_000_000, "types": types, "perplexity": perplexity, "perplexity_by_llama_cpp": perplexity + 1,
    }  # fmt: skip


FOUND = {
    "qa": {
        **TAKEN, "limit": "11MB", "rows": {"test": 18000, "xquad.en": 1190},
        "systems": {"PocketLM": {
            "size_bytes": 11_000_000, "latency_p50_ms": 12.34,
            **{name: {"metrics": {"f1": value(0.8), "exact_match": value(0.7)}} for name in ("test", "xquad.en")},
        }},
        "bars": {"times smaller": {"value": 8.1, "bar": 8, "reached": True},
                 "p50": {"value": 12.3, "bar": 10.0, "reached": False}},
    },
    "translation": {
        **TAKEN, "n": 1835, "heard": 30000,
        "scores": {"teacher, 4 beams": {"metrics": {"chrf++": value(0.5), "bleu": value(0.2)}}},
        "speed": {"torch, float": {"words_per_s": 50.0}, "Pocket, 8 bits": {"words_per_s": 400.0, "size_bytes": 9e6}},
        "models": {"teacher": {"parameters": 9_000_000, "seconds": 3600.0, "notes": ["best after 3"]}},
    },
    "generation": {
        **TAKEN, "evaluation": {"tokens": 32768, "window": 1024},
        "systems": {"float32": {
            "file_bytes": 500_000_000, "bits_per_weight": 32.0, "perplexity": {"perplexity": {"value": 21.16}},
            "threads": {"1": {"prompt_tokens_per_s": 300.0, "generation_tokens_per_s": 20.0}},
            "parity": {"same": 127, "prompts": 128, "tokens": 64},
        }},
    },
    "gguf": {
        "versions": {"gguf": "1"}, "seed": 0, "evaluation": {"tokens": 32768},
        "rows": {"Q4_0": {**TAKEN, "ours": side(22.5), "theirs": side(24.8), "tokens_by_llama_cpp": 8192},
                 "Q8_0": {**TAKEN, "ours": side(21.3), "theirs": side(21.2), "tokens_by_llama_cpp": 8192}},
    },
    "similarity": {
        **TAKEN,
        "sets": {"banking77": [{
            "name": "teacher", "size_bytes": 90_000_000, "latency_p50_ms": 5.0, "metrics": {"mrr": value(0.9)},
            "of_teacher": {"mrr": 1.0},
        }]},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("qa", "- p50: 12.3 (bar 10: missed)"),
        ("qa", "| PocketLM | 11.00 MB | 80.00% [79.0%, 81.0%] | 70.00% | 80.00% | 12.3 ms |"),
        ("translation", "| teacher, 4 beams | 0.5000 [0.4900, 0.5100] | 0.2000 [0.1900, 0.2100] |"),
        ("translation", "| Pocket, 8 bits | 400 | 9.00 MB |"),
        ("generation", "float32: on 127 of 128 prompts all 64 tokens are those that torch writes greedily."),
        ("gguf", "| Q4_0 | 210 Q4_0, 1 Q8_0 | 81.0 MB | 24.800 | 22.500 | 25.800 | 23.500 | 8,192 |"),
        ("gguf", "Ours is lower in 1 of 2 kinds."),
        ("similarity", "| teacher | 90.00 MB | 5.00 ms | 0.9000 (100.0%) |"),
    ],
)
def test_each_part_is_shown_where_it_was_run(part, line):
    assert line in page(FOUND).splitlines()
    assert line not in page({name: one for name, one in FOUND.items() if name != part}).splitlines()


def test_every_part_is_tested():
    assert FOUND.keys() == PARTS.keys()
