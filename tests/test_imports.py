"""Imports go one way through the house, the base install stays light, and public names are what they say."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pocketlm

SOURCE = Path(pocketlm.__file__).parent
LAYERS = [
    {
        "__init__",
        "errors",
        "units",
        "tables",
        "knobs",
        "scripts",
        "budget",
        "floors",
        "cluster",
        "outputs",
        "progress",
        "job",
        "pocket",
        "runtime",
    },
    {"data", "model"},
    {"tasks"},
    {"train", "measure", "check"},
    {"augment", "compress"},
    {"students"},
    {"export"},
    {"recipe"},
    {"search"},
    {"report", "serve"},
    {"staging", "fleet"},
    {"augmenting", "hearing", "transferring", "writing", "modelling", "pretraining", "conclude", "labelling"},
    {"opening"},
    {"advice"},
    {"build", "cli"},
    {"__main__"},
]
LAYER = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Rooms that a file imports while it is loaded or run; what only type checkers read does not count."""
    found = set()
    tree = ast.parse(path.read_text("utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pocketlm":
            parts = node.module.split(".")
            found.update([parts[1]] if len(parts) > 1 else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pocketlm."))
    return found - {"__version__"}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    own = room_of(path)
    if own == "__init__":
        return
    for other in imports(path) - {own}:
        same_floor = (LAYER[own] == 0 and LAYER[other] == 0) or {own, other} == {"build", "cli"}
        assert LAYER[other] < LAYER[own] or same_floor, f"{own} (layer {LAYER[own]}) imports {other}"


@pytest.mark.parametrize("path", sorted((SOURCE / "serve").glob("*.py")), ids=lambda path: path.name)
def test_the_service_reads_pockets_only(path):
    assert all(LAYER[other] == 0 for other in imports(path) - {"serve"})


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_loads_nothing_heavy():
    heavy = ("torch", "transformers", "onnxruntime", "tokenizers", "numpy", "onnx")
    assert fresh(f"import sys, pocketlm; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_runtime_and_judging_need_no_torch():
    code = (
        "import sys; import pocketlm.runtime.load, pocketlm.measure.probe, pocketlm.measure.quality, "
        "pocketlm.tasks.prepare, pocketlm.check.check, pocketlm.labelling.start, pocketlm.labelling.page, "
        "pocketlm.serve.server, pocketlm.cli.main; "
        "print([m for m in ('torch', 'transformers', 'onnx') if m in sys.modules])"
    )
    assert fresh(code) == "[]"


def test_public_names_exist():
    assert pocketlm.__all__ == sorted(pocketlm.__all__)
    for name in pocketlm.__all__:
        assert getattr(pocketlm, name) is not None
    with pytest.raises(AttributeError):
        _ = pocketlm.nothing
