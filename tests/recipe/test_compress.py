"""Recipes as files: what is read, and what is refused with one plain line."""

import pytest

from pocketlm.compress.gptq import Gptq
from pocketlm.compress.passes import PASSES
from pocketlm.compress.prune import Prune
from pocketlm.errors import UserError
from pocketlm.recipe.compress import ORDER, check_order, read_recipe
from pocketlm.recipe.recipe import Recipe
from pocketlm.tables import pass_from_json


@pytest.fixture
def read(tmp_path):
    """read(text) is the recipe of a file that holds it."""

    def make(text):
        (tmp_path / "own.yaml").write_text(text, "utf-8")
        return read_recipe(tmp_path / "own.yaml")

    return make


def test_a_list_of_passes_is_a_recipe(read):
    recipe = read("- pass: prune\n  sparsity: 0.6\n- pass: gptq\n  layers: [blocks, head]\n")
    assert recipe.steps == (Prune(sparsity=0.6), Gptq(layers=("blocks", "head")))
    assert recipe.name.endswith("own.yaml")


def test_a_mapping_has_a_name_too(read):
    recipe = read("name: mine\nsteps:\n- pass: gptq\n  bits: {'*.down_proj': 4, '*': 3}\n")
    assert (recipe.name, recipe.steps) == ("mine", (Gptq(bits={"*.down_proj": 4, "*": 3}),))


def test_settings_as_a_file_has_them_are_those_of_python(read):
    assert hash(read("- {pass: prune, layers: [head], exclude: []}").steps[0]) == hash(Prune(layers=("head",)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is a list of passes such as '- pass: .*'; got NoneType"),
        ("gptq", "is a list of passes .* got str"),
        ("3", "is a list of passes .* got int"),
        ("[]", "has no steps"),
        ("steps: []", "has no steps"),
        ("steps: gptq", "is a list of passes .* got str"),
        ("step:\n- pass: gptq\n", "holds the keys steps and name; got step"),
        ("pass: gptq\nbits: 4\n", "holds the keys steps and name; got pass, bits"),
        ("- gptq\n", "a recipe step needs the key 'pass'; got 'gptq'"),
        ("- {}\n", "a recipe step needs the key 'pass'; got nothing"),
        ("- bits: 4\n", "a recipe step needs the key 'pass'; got bits"),
        ("- pass: gtpq\n", "unknown pass 'gtpq'; there is alps, .*Did you mean 'gptq'"),
        ("- pass: [gptq]\n", "unknown pass"),
        ("- pass: 4\n", "unknown pass"),
        ("- pass:\n", "unknown pass"),
        ("- pass: gptq\n  bit: 4\n", "pass gptq: unknown setting 'bit'; there is bits, .*Did you mean 'bits'"),
        ("- pass: gptq\n  4: bits\n", "pass gptq: unknown setting 4; there is bits, "),
        ("- pass: gptq\n  bits: 9\n", "pass gptq: bits .*got 9"),
        ("- pass: prune\n  sparsity: 1.5\n", "pass prune: sparsity is a share from 0 and below 1, got 1.5"),
        ("- pass: gptq\n bits: [\n", "cannot be read"),
        ("- !!python/object/apply:os.getcwd []\n", "cannot be read"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(read, text, words):
    with pytest.raises(UserError, match=words) as caught:
        read(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    for name in ("none.yaml", "binary.yaml", ""):
        with pytest.raises(UserError, match="cannot be read") as caught:
            read_recipe(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


OF_KIND = {"quantize": "gptq", "prune": "prune", "structure": "prune-ffn", "low-rank": "low-rank"}


@pytest.mark.parametrize(("first", "second", "why"), ORDER)
def test_an_order_that_undoes_itself_is_refused_with_both_names_and_what_would_be_right(first, second, why):
    steps = [pass_from_json({"pass": OF_KIND[kind]}, PASSES) for kind in (first, second)]
    assert [step.kind for step in steps] == [first, second]
    assert " first" in why
    with pytest.raises(UserError, match=f"pass {OF_KIND[second]} after {OF_KIND[first]}: {why}"):
        check_order(Recipe(steps))
    heal = pass_from_json({"pass": "distill"}, PASSES)
    with pytest.raises(UserError, match=f"pass {OF_KIND[second]} after {OF_KIND[first]}"):
        check_order(Recipe([steps[0], heal, steps[1]]))
    check_order(Recipe([steps[1], heal, steps[0]]))
