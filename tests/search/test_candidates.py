"""Sizes that are expected of candidates, against what is written of them."""

import pytest
from helpers import make_context

from pocketlm.budget import Budget
from pocketlm.export.bag import bag_members
from pocketlm.search.candidates import Facts, candidates
from pocketlm.students.pieces import student_pieces
from pocketlm.students.quantize import Quantize


@pytest.mark.parametrize("file", ["csv_file", "conll_file"])
def test_a_static_bag_takes_the_bytes_that_are_expected_of_it(file, request, tmp_path):
    context = make_context(request.getfixturevalue(file), None, tmp_path)
    facts = Facts.of(context, len(student_pieces(context, None).counts))
    tried = candidates(facts, Budget.parse(max_size="1MB"))
    (one,) = [one for one in tried if one.recipe.family == "static-embeddings"]
    model = Quantize(bits=8)(one.recipe.steps[0](None, context), context)
    _, members = bag_members(model)
    written = sum(len(data) for data in members.values())
    assert 0.9 * written < one.expected_bytes < 1.15 * written + 4000  # and the frame, which is not written here
