"""Quality as the runtime gives it, one text at a time."""

from dataclasses import replace

import pytest
from helpers import make_context, write_exported

from pocketlm.errors import DataError
from pocketlm.export.pocket import export
from pocketlm.measure.quality import evaluate, fidelity, foreign_labels, texts_for
from pocketlm.outputs import Example
from pocketlm.runtime.load import load
from pocketlm.students.passes import STUDENT_PASSES
from pocketlm.tasks.table import TASKS

TEXTS = ["turn on the light", "turn it off", "dim", "what a day", "play some music"]


@pytest.mark.parametrize("kind", ["pocket", "tagger"])
def test_scores_are_those_of_its_predictions_on_single_texts(kind, request, monkeypatch):
    model = load(request.getfixturevalue(kind))
    words = [tuple(text.split()) for text in TEXTS]
    examples = [
        Example(text, ("ab"[place % 2],), own, ("O",) * len(own))
        for place, (text, own) in enumerate(zip(TEXTS, words, strict=True))
    ]
    given = words if kind == "tagger" else TEXTS
    assert texts_for(model, examples) == given
    said = [model.predict([text])[0] for text in given]
    sizes, encode = [], model.inputs.encode

    def counted(texts):
        sizes.append(len(texts))
        return encode(texts)

    monkeypatch.setattr(model.inputs, "encode", counted)
    scores = evaluate(model, examples, seed=3)
    assert replace(scores, sureness={}) == TASKS[model.task].score(examples, said, model.outputs, 3)
    assert scores.n == sum(sizes) == len(sizes) == len(TEXTS)


def test_a_tagging_pocket_reads_the_text_where_there_are_no_tokens(tagger):
    assert texts_for(load(tagger), [Example("turn on", ("a",))]) == ["turn on"]


def test_labels_that_a_pocket_never_says_are_named_with_their_rows(pocket, tagger):
    model = load(pocket)
    own = [Example(text, ("a",)) for text in TEXTS]
    assert foreign_labels(model, own, "t.csv") == ()
    others = [Example("x", (label,)) for label in ("bb", "bb", "cc")]
    (note,) = foreign_labels(model, [*own, *others], "t.csv")
    name = model.outputs[0].name
    assert note.startswith(f"t.csv: the Pocket never says as {name} 'bb' (2 rows), 'cc' (1 row); it says a, b, c. For ")
    assert note.endswith("These labels count as missed")
    with pytest.raises(DataError, match=r"'z' \(5 rows\).*None of the rows' labels is one that it says"):
        foreign_labels(model, [replace(one, labels=("z",)) for one in own], "t.csv")


def test_tags_of_another_scheme_are_no_foreign_ones(tagger):
    model = load(tagger)
    (output,) = (one for one in model.outputs if one.kind == "tags")
    kind = next(label[2:] for label in output.labels if label.startswith("B-"))
    known = Example("turn it", tokens=("turn", "it"), tags=("O", f"S-{kind}"))
    other = Example("turn it", tokens=("turn", "it"), tags=("O", "B-nothing"))
    assert foreign_labels(model, [known], "t.csv") == ()
    (note,) = foreign_labels(model, [known, other], "t.csv")
    assert "'B-nothing' (1 row)" in note
    # of tags "O" tells nothing of what the rows are about
    with pytest.raises(DataError, match="'B-nothing'"):
        foreign_labels(model, [other, other], "t.csv")


def test_sources_that_are_cut_are_counted(writer):
    pytest.importorskip("sacrebleu")
    model = load(writer("Marian")[2].path)
    short, long = Example("dim the lamp", target="a"), Example(" ".join(["lamp"] * 90), target="b")
    whole = evaluate(model, [short, short])
    assert all("sources" not in how for how in whole.signatures.values())
    scores = evaluate(model, [short, long, long])
    assert scores.n == 3 and set(scores.signatures) == {"chrf++", "bleu"}
    for how in scores.signatures.values():
        assert how.endswith("; of 3 sources 2 are longer than the 64 tokens that the model reads, and were cut")


def test_a_question_without_room_for_its_context_is_named_by_its_row(questions_file, teacher_folder, tmp_path):
    context = make_context(questions_file, teacher_folder, tmp_path)
    model = STUDENT_PASSES["small-transformer"](depth=1, heads=4, ffn=64, rank=32)(None, context)
    pocket = load(write_exported(context, export(model, context), tmp_path / "q.pocket"))
    short, long = (Example(one, pair="turn off the lamp", answers=((0, 4),)) for one in ("what", "what lamp " * 40))
    assert evaluate(pocket, [short, short]).n == 2
    with pytest.raises(DataError, match="^row 2: the question and its marks are .* longer than the window of 32"):
        evaluate(pocket, [short, long])


@pytest.mark.parametrize(
    ("own", "theirs", "expected"),
    [
        ([{"label": "a", "score": 0.9}], [{"label": "a", "score": 0.5}], 1.0),
        ([{"label": "a"}, {"label": "b"}], [{"label": "a"}, {"label": "a"}], 0.5),
        ([{"labels": ["x", "y"]}], [{"labels": ["y", "x"]}], 1.0),
        ([{"labels": []}], [{"labels": ["y"]}], 0.0),
        ([{"intent": "on", "slots": ["O", "B-room"]}], [{"intent": "on", "slots": ["O", "O"]}], 0.0),
        ([{"intent": "on", "slots": ["O", "B-room"]}], [{"intent": "on", "slots": ["O", "B-room"]}], 1.0),
        ([{"tags": ["O", "B-x"]}, {"tags": ["NOUN"]}], [{"tags": ["O", "O"]}, {"tags": ["NOUN"]}], 0.5),
    ],
)
def test_answers_are_compared_without_scores(own, theirs, expected):
    assert fidelity(own, theirs) == expected


def test_lists_of_different_length_are_refused():
    with pytest.raises(ValueError, match="zip"):
        fidelity([{"label": "a"}], [])
