"""What the pages say is so: references are fresh, commands parse, marked code runs, the file's members are named."""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer
import yaml

from pocketlm.cli.main import app
from pocketlm.compress.passes import PASSES
from pocketlm.job import Job, job_from_mapping
from pocketlm.measure.device import read_device
from pocketlm.recipe.compress import check_order
from pocketlm.recipe.recipe import Recipe
from pocketlm.students.passes import STUDENT_PASSES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GROUP = typer.main.get_command(app)
RUNNABLE = "# runnable\n"


def blocks(language):
    """(page, code) of every fenced block of the language."""
    found = []
    for page in PAGES:
        for tongue, code in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S):
            if tongue == language:
                found.append(pytest.param(code, id=f"{page.stem}-{len(found)}"))
    return found


def command_lines():
    """Every line `pocketlm …` in a block or in backticks, without what the shell does with it."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        lines = re.findall(r"^(?:\$ )?(pocketlm \S.*)$", text, re.M) + re.findall(r"`(pocketlm [a-z]+ [^`]*)`", text)
        found += [pytest.param(line, id=f"{page.stem}: {line[:50]}") for line in lines]
    return found


def run(code, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8"
    )


def test_references_are_what_the_code_says():
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_parse(line):
    words = shlex.split(re.split(r" [<>|] ", line)[0].replace(" …", ""))[1:]
    name, rest = words[0], words[1:]
    assert name in GROUP.commands, f"no command {name}"
    command = GROUP.commands[name]
    if not [word for word in rest if not word.startswith("-")]:  # only names an option, such as `pocketlm fit --json`
        known = {opt for option in command.params for opt in option.opts}
        assert {word for word in rest if word != "--help"} <= known
        return
    context = command.make_context(name, list(rest))
    if name == "fit" and not context.params["data"].endswith((".yaml", ".yml")):
        given = {key: value for key, value in context.params.items() if key in Job.__dataclass_fields__}
        job = job_from_mapping({key: value for key, value in given.items() if value is not None})
        assert job.budget is not None
        assert job.seconds is None or job.seconds > 0


@pytest.mark.parametrize("code", blocks("python"))
def test_python_compiles(code):
    compile(code, "block", "exec")


def is_recipe(code):
    """Whether a block of YAML is a list of passes rather than a job."""
    return code.startswith(("- pass:", "- {pass:"))


def is_device(code):
    """Whether it describes a machine."""
    return code.startswith("device:")


def is_job(code):
    """Whether it describes neither, but a job."""
    return not is_recipe(code) and not is_device(code)


@pytest.mark.parametrize("code", [one for one in blocks("yaml") if is_device(one.values[0])])
def test_yaml_of_a_machine_is_read(code, tmp_path):
    path = tmp_path / "device.yaml"
    path.write_text(code, "utf-8")
    assert read_device(path).milliseconds({"call": 1}) > 0


@pytest.mark.parametrize("code", [one for one in blocks("yaml") if is_job(one.values[0])])
def test_yaml_is_a_job(code):
    assert job_from_mapping(yaml.safe_load(code)).budget is not None


@pytest.mark.parametrize("code", [one for one in blocks("yaml") if is_recipe(one.values[0])])
def test_yaml_of_passes_is_a_recipe(code):
    steps = yaml.safe_load(code)
    if steps[0]["pass"] in STUDENT_PASSES:
        recipe = Recipe.from_json(steps, STUDENT_PASSES)
    else:
        recipe = Recipe.from_json(steps, PASSES)
        check_order(recipe)
    assert len(recipe.steps) == code.count("pass:")


def test_no_page_names_a_place_on_one_machine():
    for page in PAGES:
        assert not re.search(r"(?<![\w.:/])/(work|home|root|tmp|Users)/", page.read_text("utf-8")), page


def test_glossary_names_each_term_once_in_order():
    terms = re.findall(r"^- \*\*(.+?)\*\*", (ROOT / "docs" / "glossary.md").read_text("utf-8"), re.M)
    assert len(set(terms)) == len(terms)
    assert terms == sorted(terms, key=str.casefold)


@pytest.mark.slow
@pytest.mark.parametrize("code", [one for one in blocks("python") if one.values[0].startswith(RUNNABLE)])
def test_runnable_python_runs(code, tmp_path):
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    for pocket in tmp_path.glob("*.pocket"):
        described = (ROOT / "docs" / "reference" / "formats.md").read_text("utf-8")
        with zipfile.ZipFile(pocket) as archive:
            manifest = json.loads(archive.read("manifest.json"))
        outputs = {output["name"] for output in manifest["outputs"]}
        for name in (*manifest, *manifest["members"]):
            head, _, rest = name.partition(".")
            shown = f"OUTPUT.{rest}" if head in outputs and rest else name
            assert f"`{shown}`" in described, f"{name} is not in formats.md"
