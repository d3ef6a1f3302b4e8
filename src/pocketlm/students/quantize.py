"""State with how many bits the model will be stored, and let it get used to them.

Bags: the table's rows are rounded in the forward pass with a straight-through gradient (Bengio et al. 2013,
arXiv:1308.3432) for a few epochs. Graphs: matrices and embeddings become int8 when exported, per channel, with
activations quantized as they come or with ranges calibrated on training texts; see export.int8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch

from pocketlm.errors import RecipeError
from pocketlm.knobs import Choice, knob
from pocketlm.model.bag import BagModule
from pocketlm.model.task_model import TaskModel
from pocketlm.runtime.packed import quantize_rows
from pocketlm.students.distill import Distill
from pocketlm.train.context import FitContext


@dataclass(frozen=True)
class Quantize:
    """Store tables with `bits` (4 or 8) and matrices with 8.

    epochs, rate: of the training that gets a bag used to rounded rows; 0 epochs rounds without training.
    max_loss: points of the main metric that int8 matrices of a graph may cost on dev, else they stay float.
    activations: of these matrices' inputs, rounded as they come ("dynamic"), in training texts' ranges ("static"), or
    not at all, and the matrices neither ("float"); "auto" is what is fastest here, as the Pocket's recipe then says.
    """

    name: ClassVar[str] = "quantize"
    bits: Literal[4, 8] = knob(8, Choice((4, 8)))
    epochs: int = 0
    rate: float = 5e-4
    max_loss: float = 0.005
    activations: Literal["dynamic", "static", "float", "auto"] = "auto"

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"bits is 4 or 8, got {self.bits}")

    def __call__(self, model: TaskModel | None, context: FitContext) -> TaskModel:
        """The model with its bits stated in the spec, weights adapted where epochs > 0."""
        if model is None:
            raise RecipeError("quantize needs a model; put it after a pass that builds one")
        settings = {**model.spec.settings, "max_loss": self.max_loss, "activations": self.activations}
        spec = replace(model.spec, bits={"table": self.bits, "linear": 8}, settings=settings)
        model = replace(model, spec=spec)
        if isinstance(model.module, BagModule) and self.epochs:
            _, scales = quantize_rows(model.module.stored_table().detach().numpy(), self.bits)
            model.module.bits = self.bits
            model.module.table_scale = torch.from_numpy(scales.astype("float32"))[:, None]
            model = Distill(self.epochs, self.rate, patience=self.epochs)(model, context)
        return model
