"""When a Pocket had better not answer: below a score, or where it takes a text to be out of its scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pocketlm.errors import PocketFileError
from pocketlm.outputs import Output
from pocketlm.runtime.decode import Prediction


@dataclass(frozen=True)
class Unsure:
    """What is not answered: scores under `below`, and texts of the class `out_of_scope` ("" where there is none).

    output: the name of the output that it is about, one label a text.
    """

    output: str
    below: float
    out_of_scope: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data, as the manifest holds it."""
        about = {"output": self.output, "below": self.below}
        return {**about, "out_of_scope": self.out_of_scope} if self.out_of_scope else about

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Unsure:
        """What `to_json` described. Raises PocketFileError where the score is no share."""
        below = float(value["below"])
        if not 0 <= below <= 1:
            raise PocketFileError(f"the manifest's score to answer from is a share from 0 to 1, not {below}")
        return cls(value["output"], below, value.get("out_of_scope", ""))

    def answers(self, said: Prediction) -> bool:
        """Whether what was said is sure enough, and in scope."""
        return said["score"] >= self.below and (not self.out_of_scope or said[self.output] != self.out_of_scope)

    def held_back(self, said: Sequence[Prediction]) -> list[Prediction]:
        """The same predictions; where one is unsure its label is None, and what it would have been is "guess"."""
        return [one if self.answers(one) else {**one, self.output: None, "guess": one[self.output]} for one in said]


def single_output(outputs: Sequence[Output]) -> Output | None:
    """The output with one label a text, whose score says how sure it is; None where there is none."""
    return next((output for output in outputs if output.kind == "single"), None)
