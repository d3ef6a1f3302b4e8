"""Examples that a teacher gets right and its student wrong, as people read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pocketlm.outputs import Example, Output
from pocketlm.tasks.answers import Predictions
from pocketlm.tasks.question_answering import gold_of

LOST_EXAMPLES = 20
# How several accepted answers, and that there is none, are shown.
OR = " | "
NO_ANSWER = "(no answer)"


def lost_examples(
    examples: Sequence[Example], said: Predictions, teacher_said: Predictions | None, outputs: Sequence[Output]
) -> list[dict[str, str]]:
    """{"text", "gold", "teacher", "student"} of the first texts that the teacher gets right and the student wrong.

    None of vectors, which are not right or wrong.
    """
    if teacher_said is None or any(output.kind == "vector" for output in outputs):
        return []
    lost = []
    for example, own, theirs in zip(examples, said, teacher_said, strict=True):
        gold, student, taught = (_answer(example, one, outputs) for one in (None, own, theirs))
        right = gold.split(OR) if example.answers else [gold]
        if taught in right and student not in right:
            text = "\n".join(filter(None, (example.text, example.pair)))
            lost.append({"text": text, "gold": gold, "teacher": taught, "student": student})
    return lost[:LOST_EXAMPLES]


def _answer(example: Example, said: Mapping[str, Any] | None, outputs: Sequence[Output]) -> str:
    """An answer, or the gold one, as one string: labels, and the tagged words where there are any; or a span."""
    kinds = {output.kind: output.name for output in outputs}
    if "span" in kinds:
        told = dict.fromkeys(gold_of(example)) if said is None else [str(said[kinds["span"]])]
        return OR.join(filter(None, told)) or NO_ANSWER
    labels, tags = list(example.labels), list(example.tags)
    if said is not None:
        labels = [said[kinds["single"]]] if "single" in kinds else said["labels"] if "multi" in kinds else []
        tags = said[kinds["tags"]] if "tags" in kinds else []
    words = [f"{tag}:{word}" for tag, word in zip(tags, example.tokens, strict=False) if tag != "O"]
    return " ".join(filter(None, [", ".join(sorted(map(str, labels))), *words]))
