"""Small tokenizers of every kind, trained on a test's own texts."""

import json

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]


def tokenizer_of(kind, texts, pieces=None):
    """A tokenizer of the kind, of the texts' words."""
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=pieces or 300, special_tokens=SPECIAL, show_progress=False)
    elif kind == "Unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=pieces or 150, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=pieces or 400, special_tokens=SPECIAL, initial_alphabet=sorted(alphabet), show_progress=False
        )
    tokenizer.train_from_iterator(texts, trainer)
    if kind == "merged both ways":
        tokenizer = Tokenizer.from_str(with_every_merge(tokenizer.to_str()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    names = ("pad_token", "unk_token", "bos_token", "eos_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, SPECIAL, strict=True)))


def with_every_merge(rules):
    """The BPE with every way in which two of its pieces make a third, as converted SentencePiece models have them."""
    rules = json.loads(rules)
    known = sorted(rules["model"]["vocab"].items(), key=lambda one: one[1])
    pieces = {piece for piece, _ in known}
    rules["model"]["merges"] = [
        [piece[:cut], piece[cut:]]
        for piece, _ in known
        if piece not in SPECIAL
        for cut in range(1, len(piece))
        if piece[:cut] in pieces and piece[cut:] in pieces
    ]
    return json.dumps(rules)
