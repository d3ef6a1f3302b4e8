"""CoNLL-style files: sentences, columns by number or name, comments, and lines that do not fit."""

import pytest

from pocketlm.data.read import read_rows
from pocketlm.data.texts import iter_texts
from pocketlm.errors import DataError


def read(tmp_path, text, name="a.conll"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_rows(path)


CONLL_U = """\
# sent_id = 1
# text = Dogs can't run
1\tDogs\tdog\tNOUN\tNNS\t_\t0\troot\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
2\tca\tcan\tAUX\tMD\t_\t1\taux\t_\t_
3\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_
3.1\trun\trun\tVERB\tVB\t_\t_\t_\t_\t_

"""


def test_sentences_are_parted_by_blank_lines_and_documents_left_out(tmp_path):
    text = "-DOCSTART- -X- O\n\nAnna NNP B-PER\nran VBD O\n \t\n\n-DOCSTART- -X- O\n\nLima NNP B-LOC"
    rows = [
        {"1": ["Anna", "ran"], "2": ["NNP", "VBD"], "3": ["B-PER", "O"]},
        {"1": ["Lima"], "2": ["NNP"], "3": ["B-LOC"]},
    ]
    assert read(tmp_path, text) == read(tmp_path, text.replace("\n", "\r\n"), "b.txt") == rows
    assert read(tmp_path, text.replace(" NNP ", "\tNNP\t").replace(" VBD ", "\tVBD\t"), "c.iob2") == rows


def test_words_with_spaces_stand_between_tabs_and_others_keep_theirs(tmp_path):
    assert read(tmp_path, "thành phố\tN\n")[0]["1"] == ["thành phố"]
    assert read(tmp_path, "a\u00a0b  O\n")[0] == {"1": ["a\u00a0b"], "2": ["O"]}


def test_conll_u_has_names_and_words_only(tmp_path):
    (row,) = read(tmp_path, CONLL_U, "a.conllu")
    assert (row["form"], row["upos"]) == (["Dogs", "ca", "n't"], ["NOUN", "AUX", "PART"])
    named = "# global.columns = ID FORM UPOS\n1\tDogs\tNOUN\n1-2\tx\t_\n"
    assert read(tmp_path, named) == [{"id": ["1"], "form": ["Dogs"], "upos": ["NOUN"]}]


def test_a_hash_may_be_a_comment_or_a_word(tmp_path):
    text = "# id 7 domain=en\n# O\nAnna B-PER\n# O\n\n# x = y\n#tag O\n"
    assert [row["1"] for row in read(tmp_path, text)] == [["#", "Anna", "#"], ["#tag"]]


def test_words_of_a_file_are_texts_without_labels_too(tmp_path):
    path = tmp_path / "a.conllu"
    path.write_text(CONLL_U)
    assert list(iter_texts(path)) == ["Dogs ca n't"]


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("Anna B-PER\nran\n", "a.conll", "line 2 has 1 columns, line 1 has 2; a CoNLL file has a word and its tags"),
        ("plain text of some words\nand more\n", "a.txt", "line 2 has 2 columns, line 1 has 5"),
        ("1\tDogs\tNOUN\n", "a.conllu", "line 1 has 3 columns, its columns are 10"),
        ("-DOCSTART- O\n\n", "a.conll", "has no rows"),
    ],
)
def test_lines_that_do_not_fit_are_named(tmp_path, text, name, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, name)
