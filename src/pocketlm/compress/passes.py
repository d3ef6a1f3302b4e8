"""What a pass is, and the table of them.

A pass is a frozen dataclass: its fields are its settings, `__post_init__` refuses wrong ones, calling it maps a model
to a model. It may work in place on the model it is given (the caller's own was copied before), writes what it did to
every layer in `context.journal`, and never looks at test data.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from pocketlm.compress.context import Context
from pocketlm.model.pretrained import Model
from pocketlm.tables import Table


class Pass(Protocol):
    """A step of a recipe."""

    name: ClassVar[str]

    def __call__(self, model: Model, context: Context) -> Model:
        """The changed model."""
        ...


PASSES = Table(
    "pass",
    {
        "alps": "pocketlm.compress.alps:Alps",
        "awq": "pocketlm.compress.awq:ActivationAware",
        "codebook": "pocketlm.compress.codebook:Codebook",
        "distill": "pocketlm.compress.distill:Distill",
        "drop-experts": "pocketlm.compress.experts:DropExperts",
        "drop-layers": "pocketlm.compress.depth:DropLayers",
        "expert-bits": "pocketlm.compress.expert_bits:ExpertBits",
        "factor-embeddings": "pocketlm.compress.factor_embeddings:FactorEmbeddings",
        "ggml-quantize": "pocketlm.compress.ggml:GgmlQuantize",
        "gptq": "pocketlm.compress.gptq:Gptq",
        "gradual-prune": "pocketlm.compress.gradual:GradualPrune",
        "hqq": "pocketlm.compress.hqq:HalfQuadratic",
        "int8": "pocketlm.compress.int8:Int8",
        "learned-rounding": "pocketlm.compress.learned_rounding:LearnedRounding",
        "low-rank": "pocketlm.compress.low_rank:LowRank",
        "low-rank-correction": "pocketlm.compress.correction:LowRankCorrection",
        "merge-experts": "pocketlm.compress.experts:MergeExperts",
        "prune": "pocketlm.compress.prune:Prune",
        "prune-ffn": "pocketlm.compress.structure:PruneUnits",
        "prune-heads": "pocketlm.compress.structure:PruneHeads",
        "prune-structure": "pocketlm.compress.prune_structure:PruneStructure",
        "prune-vocabulary": "pocketlm.compress.vocabulary:PruneVocabulary",
        "prune-width": "pocketlm.compress.width:PruneWidth",
        "qat": "pocketlm.compress.qat:Qat",
        "entropy-coded": "pocketlm.compress.entropy:EntropyCoded",
        "round-to-nearest": "pocketlm.compress.rounding:RoundToNearest",
        "smooth": "pocketlm.compress.smooth:Smooth",
        "sparsegpt": "pocketlm.compress.sparsegpt:SparseGPT",
        "transfer-vocabulary": "pocketlm.compress.transfer_vocabulary:TransferVocabulary",
        "trim-vocabulary": "pocketlm.compress.trim_vocabulary:TrimVocabulary",
    },
)
