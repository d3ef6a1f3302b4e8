"""What the runtime writes is what transformers writes with the same model."""

import numpy as np
import pytest
import torch

from pocketlm.errors import DataError, UserError
from pocketlm.runtime.choose import Writing
from pocketlm.runtime.generate import with_settings
from pocketlm.runtime.likelihood import likelihoods
from pocketlm.runtime.load import write_all
from pocketlm.runtime.shortlist import Shortlist

PROMPTS = ["turn on the kitchen lamp", "dim the", "switch off the red lamp in the hall please"]
MOST = 12


def by_transformers(model, prompts, **settings):
    """Ids that `generate` writes for each prompt, end token left out."""
    tokenizer, module = model.tokenizer, model.module
    tokenizer.padding_side = "right" if module.config.is_encoder_decoder else "left"
    given = tokenizer(prompts, padding=True, return_tensors="pt")
    given = {key: given[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        made = module.generate(**given, **{"max_new_tokens": MOST, "do_sample": False, **settings})
    begins = 1 if module.config.is_encoder_decoder else given["input_ids"].shape[1]
    found = []
    for row in made[:, begins:].tolist():
        ends = [place for place, one in enumerate(row) if one == 3]
        found.append(tuple(row[: ends[0]] if ends else row[:MOST]))
    return [tuple(one for one in row) for row in found]


def without_padding(ids):
    """Trailing padding, which `generate` fills a batch up with, left out."""
    ids = list(ids)
    while ids and ids[-1] == 0:
        ids.pop()
    return tuple(ids)


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "qwen2_moe", "t5", "Marian", "Bart"])
def test_greedy_of_a_batch_is_that_of_transformers(writer, name):
    model, generator, _ = writer(name)
    wanted = by_transformers(model, PROMPTS)
    found = [one.ids for one in generator.write(PROMPTS, Writing(max_tokens=MOST))]
    assert [without_padding(one) for one in found] == [without_padding(one) for one in wanted]
    alone = [generator.write([one], Writing(max_tokens=MOST))[0].ids for one in PROMPTS]
    assert alone == found


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -1.0])
@pytest.mark.parametrize("name", ["llama", "Marian"])
def test_beam_search_is_that_of_transformers(writer, name, penalty, early):
    model, generator, _ = writer(name)
    settings = {"num_beams": 3, "length_penalty": penalty, "early_stopping": early}
    wanted = by_transformers(model, PROMPTS, **settings)
    how = Writing(max_tokens=MOST, beams=3, length_penalty=penalty, early_stopping=early)
    found = [one.ids for one in generator.write(PROMPTS, how)]
    assert [without_padding(one) for one in found] == [without_padding(one) for one in wanted]


@pytest.mark.parametrize("beams", [1, 4])
def test_a_repetition_penalty_counts_what_occurred(writer, beams):
    model, generator, _ = writer("llama")
    # Random weights may prefer one token by far: only the larger penalty changes what is written, whatever they are.
    for penalty in (1.7, 100.0):
        how = Writing(max_tokens=MOST, repetition_penalty=penalty, beams=beams)
        for prompt in PROMPTS:
            wanted = by_transformers(model, [prompt], repetition_penalty=penalty, num_beams=beams)
            assert without_padding(generator.write([prompt], how)[0].ids) == without_padding(wanted[0])
    assert wanted != by_transformers(model, [prompt], num_beams=beams)


def test_drawing_is_repeated_by_its_seed_and_does_not_depend_on_the_batch(writer):
    _, generator, _ = writer("llama")
    how = Writing(max_tokens=MOST, temperature=2.0, seed=3)
    first, again = generator.write(PROMPTS, how), generator.write(PROMPTS[:1], how)
    assert first[0] == again[0]
    assert generator.write(PROMPTS, with_settings(how, seed=4))[0].ids != first[0].ids
    one = generator.write(PROMPTS, with_settings(how, top_k=1))
    assert [row.ids for row in one] == [row.ids for row in generator.write(PROMPTS, Writing(max_tokens=MOST))]


def test_a_stream_is_what_is_written_at_once(writer):
    _, generator, _ = writer("llama")
    how = Writing(max_tokens=MOST, temperature=1.5)
    whole = generator.write(PROMPTS[:1], how)[0]
    pieces = list(generator.stream(PROMPTS[0], how))
    assert "".join(pieces) == whole.text and all(pieces)
    word = whole.text.strip().split()[1]
    cut = with_settings(how, stop=(word,))
    stopped = generator.write(PROMPTS[:1], cut)[0]
    assert stopped.finish == "stop" and stopped.text == whole.text[: whole.text.index(word)]
    assert "".join(generator.stream(PROMPTS[0], cut)) == stopped.text
    with pytest.raises(UserError, match="beam search knows its text at the end only"):
        next(generator.stream("a", Writing(beams=2)))


@pytest.mark.parametrize("beams", [1, 3])
def test_a_shortlist_of_all_tokens_changes_nothing_and_a_short_one_is_kept(writer, beams):
    _, generator, _ = writer("Marian")
    how = Writing(max_tokens=MOST, beams=beams)
    whole = generator.write(PROMPTS, how)
    assert generator.write(PROMPTS, how, chosen=range(generator.decoder.words)) == whole
    allowed = [5, 9, 17, 40, 77]
    for one in generator.write(PROMPTS, how, chosen=allowed):
        assert set(one.ids) <= set(allowed)
    with pytest.raises(UserError, match="shortlist: ids are from 0 to"):
        generator.write(PROMPTS, how, chosen=[10_000])
    with pytest.raises(UserError, match="a shortlist is for encoder-decoders"):
        writer("llama")[1].write(PROMPTS, how, chosen=[1])


def test_a_prompt_longer_than_the_context_is_refused_unless_it_may_be_cut(writer):
    _, generator, _ = writer("gpt2")
    long = " ".join(["lamp"] * 90)
    with pytest.raises(UserError, match=r"the prompt has 9\d tokens and the model reads at most 63; .* --cut"):
        generator.write([long])
    found = generator.write([long], Writing(max_tokens=10, cut=True))[0]
    assert len(found.ids) <= 10
    # the text ends with the context, however many tokens are asked for
    assert len(generator.write(["lamp"], Writing(max_tokens=500))[0].ids) <= generator.context
    _, pair, _ = writer("Marian")
    with pytest.raises(UserError, match="have its end cut"):
        pair.write([long])
    assert pair.write([long], Writing(max_tokens=4, cut=True))


@pytest.mark.parametrize("how", [Writing(max_tokens=MOST), Writing(max_tokens=MOST, beams=3)])
def test_a_long_prompt_takes_no_places_from_a_short_one_beside_it(writer, how):
    _, generator, _ = writer("gpt2")
    prompts = [" ".join(["lamp"] * (generator.context - 4)), "dim the"]
    alone = [generator.write([one], how)[0] for one in prompts]
    assert len(alone[1].ids) > len(alone[0].ids)
    assert generator.write(prompts, how) == alone


def test_a_stream_keeps_to_the_shortlist_of_its_pocket(writer, monkeypatch):
    _, generator, _ = writer("Marian")
    nothing = np.zeros(0, np.int64)
    shortlist = Shortlist(np.array([5, 9, 17, 40, 77]), np.zeros(generator.decoder.words, np.int64), nothing)
    how = Writing(max_tokens=MOST)
    free = generator.write(PROMPTS[:1], how)[0].text
    monkeypatch.setattr(generator, "shortlist", shortlist)
    kept = generator.write(PROMPTS[:1], how)[0].text
    assert "".join(generator.stream(PROMPTS[0], how)) == kept != free


def test_long_prompts_read_in_parts_are_read_as_at_once(writer, monkeypatch):
    from pocketlm.runtime import generate

    _, generator, _ = writer("mistral")
    prompt = " ".join(PROMPTS)
    whole = generator.write([prompt], Writing(max_tokens=MOST))
    monkeypatch.setattr(generate, "CHUNK", 4)
    assert generator.write([prompt], Writing(max_tokens=MOST)) == whole


def test_likelihood_is_that_of_torch(writer, monkeypatch):
    from pocketlm.runtime import likelihood

    monkeypatch.setattr(likelihood, "CHUNK", 5)
    model, generator, _ = writer("llama")
    text = " ".join(PROMPTS)
    found = likelihoods(generator, [text], window=8)[0]["windows"]
    ids = torch.tensor(generator.read(text))
    nats = []
    for part in ids.split(8):
        if len(part) > 1:
            logits = model.module(part[None]).logits[0, :-1]
            nats.append(float(torch.nn.functional.cross_entropy(logits, part[1:], reduction="sum")))
    assert np.allclose([one["nats"] for one in found], nats, rtol=1e-4)
    assert sum(one["tokens"] for one in found) == len(ids) - -(-len(ids) // 8)
    assert sum(one["bytes"] for one in found) <= len(text) and found[0]["bytes"] > 0
    with pytest.raises(DataError, match="writes from a source"):
        likelihoods(writer("t5")[1], ["a b"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"temperature": -1}, "temperature is 0 or more, got -1"),
        ({"top_p": 0}, "top_p is over 0, up to 1, got 0"),
        ({"beams": 2, "temperature": 1}, "give temperature or beams, not both"),
        ({"stop": ("",)}, "stop is strings that are not empty"),
        ({"seed": -1}, "seed is 0 or more, got -1"),
        ({"early_stopping": "soon"}, "early_stopping is true, false or 'never'"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, said):
    with pytest.raises(UserError, match=said):
        Writing(**setting)


def test_texts_draw_by_their_number_among_all(writer):
    _, generator, _ = writer("llama")
    how = Writing(max_tokens=MOST, temperature=2.0, seed=3)
    whole = write_all(generator, "generated", PROMPTS[:1] * 5, 5, how)
    assert len({one["generated"] for one in whole}) > 1
    assert write_all(generator, "generated", PROMPTS[:1] * 5, 2, how) == whole
    rest = write_all(generator, "generated", PROMPTS[:1] * 2, 2, how, first=3)
    assert rest == whole[3:]
    streamed = ["".join(generator.stream(PROMPTS[0], how, number)) for number in range(5)]
    assert streamed == [one["generated"] for one in whole]


def test_a_prompt_that_is_cut_keeps_the_token_that_begins_it(writer):
    _, generator, _ = writer("gpt2")
    begins, how = generator.about["begins"], Writing(max_tokens=10, cut=True)
    prompt = [begins, *range(4, 4 + generator.context)]
    cut = generator._fitting(prompt, how)
    assert cut == [begins, *prompt[1 - len(cut) :]] and len(cut) + how.max_tokens <= generator.context
    assert generator._fitting(prompt[1:], how)[0] != begins


def test_an_empty_source_is_refused(writer):
    with pytest.raises(DataError, match="the text is empty"):
        writer("Marian")[1].write(["turn on", " "])
