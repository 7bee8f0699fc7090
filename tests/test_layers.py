"""Imports run one way, as CONTRIBUTING.md draws it: a file imports only from the layers below its own."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "kdlab"

# From the ground up. What stands on one line may import each other, as long as no circle comes of it.
LAYERS = [
    {"signals", "randomness", "errors", "interruption"},
    {"losses", "metrics", "models", "data", "records", "workers"},
    {"explainers", "tracking"},
    {"teacher", "report"},
    {"modules"},
    {"callbacks"},
    {"configuration"},
    {"stages"},
    {"sweep"},
    {"commands", "__main__"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
# Proves users' classes, so it may know every family; nothing that runs knows it.
HEIGHT["testing"] = HEIGHT["modules"]

# What these may import besides Python's own modules; their own package is written as kdlab.<package>.
ALONE = {
    "losses": {"torch", "kdlab.losses", "kdlab.signals"},
    "metrics": {"torch", "torchmetrics", "kdlab.metrics", "kdlab.signals"},
    "models": {
        "torch",
        "skops",
        "joblib",
        "transformers",
        "kdlab.models",
        "kdlab.data",
    },  # estimators, soft labels of files
    "data": {"torch", "lightning", "numpy", "pyarrow", "sklearn", "mlxtend", "PIL", "tokenizers", "kdlab.data"},
    "signals": {"torch", "kdlab.signals"},
    "records": {"torch", "lightning", "numpy", "safetensors", "filelock", "kdlab.records", "kdlab.errors"},
    "workers": {"ray", "kdlab.workers", "kdlab.errors", "kdlab.interruption"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def imports_of(file: Path) -> Iterator[str]:
    """Full dotted names, also of imports inside functions; ``from a import b`` gives ``a.b``."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def part_of(file: Path) -> str:
    """The layer's member that a file of the package belongs to: its first folder, or its own name."""
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def files_of(part: str) -> list[Path]:
    return [file for file in FILES if part_of(file) == part]


def named(file: Path) -> str:
    return str(file.relative_to(PACKAGE))


@pytest.mark.parametrize("file", FILES, ids=named)
def test_imports_only_from_layers_below(file: Path) -> None:
    own = part_of(file)
    for name in imports_of(file):
        if not name.startswith("kdlab."):
            continue
        other = name.split(".")[1]
        for part in (own, other):
            assert part in HEIGHT, f"say in LAYERS of {Path(__file__).name} where kdlab.{part} stands"
        assert other == own or other != "testing", f"{named(file)} imports kdlab.testing, which is for tests"
        assert HEIGHT[other] <= HEIGHT[own], f"{named(file)} imports {name}, which stands above it"


@pytest.mark.parametrize("part", ALONE)
def test_stands_alone(part: str) -> None:
    assert files_of(part)
    for file in files_of(part):
        for name in imports_of(file):
            top = ".".join(name.split(".")[:2]) if name.startswith("kdlab.") else name.split(".")[0]
            allowed = top in ALONE[part] or top in sys.stdlib_module_names
            assert allowed, f"{named(file)} imports {name}; kdlab.{part} may use {sorted(ALONE[part])}"


def test_parts_do_not_import_in_circles() -> None:
    parts = {
        part: {name.split(".")[1] for file in files_of(part) for name in imports_of(file) if name.startswith("kdlab.")}
        - {part}
        for part in HEIGHT
    }
    while parts:
        free = [part for part, needed in parts.items() if not needed & parts.keys()]
        assert free, f"these import each other in a circle: {parts}"
        for part in free:
            del parts[part]


def all_python() -> list[Path]:
    return [
        file for folder in ("kdlab", "tests", "benchmarks", "experiments") for file in (ROOT / folder).rglob("*.py")
    ]


def test_lightning_is_imported_as_lightning_pytorch_only() -> None:
    # The packages lightning and pytorch_lightning hold separate classes: an object of one is no instance of the other.
    assert {file.relative_to(ROOT).parts[0] for file in all_python()} >= {"kdlab", "tests", "benchmarks"}
    for file in all_python():
        for name in imports_of(file):
            package = name.split(".")[0]
            assert package != "pytorch_lightning", f"{file} imports {name}; import lightning.pytorch"
            assert package != "lightning" or name.startswith("lightning.pytorch"), (
                f"{file} imports {name}; import lightning.pytorch"
            )


def test_imports_are_absolute_and_init_files_empty() -> None:
    assert len(FILES) > 200
    for file in FILES:
        assert not any(name.startswith(".") for name in imports_of(file)), f"{named(file)} imports relatively"
        assert file.name != "__init__.py" or not file.read_text(), f"{named(file)} is not empty"


def test_the_command_line_loads_nothing_heavy_before_it_knows_the_command() -> None:
    heavy = {
        "torch",
        "lightning",
        "mlflow",
        "torchmetrics",
        "captum",
        "optuna",
        "sklearn",
        "pyarrow",
        "matplotlib",
    }
    code = f"import sys, kdlab.__main__; print(sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.strip() == "[]", f"importing kdlab.__main__ loads {loaded.strip()}"


def asks_for_types(file: Path, names: set[str]) -> Iterator[ast.expr]:
    """The classes of these names that an ``isinstance`` or ``issubclass`` in the file asks for."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            yield from (part for part in ast.walk(node.args[1]) if ast.unparse(part).split(".")[-1] in names)


@pytest.mark.parametrize(
    ("door", "names"),
    [
        ("data/adopted.py", {"DataModule", "ForeignData"}),
        ("modules/adopted.py", {"Supervised", "Distilled", "Joint", "ForeignModule"}),
    ],
)
def test_whose_data_and_modules_are_is_asked_at_the_door_alone(door: str, names: set[str]) -> None:
    asked = {named(file): len(list(asks_for_types(file, names))) for file in FILES if part_of(file) != "testing"}
    assert {file: count for file, count in asked.items() if count} == {door: 1}, (
        f"ask what kdlab.{door.removesuffix('.py').replace('/', '.')} offers, not for a type"
    )
