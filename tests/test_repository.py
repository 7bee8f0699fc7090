"""What the repository promises about itself: its commands, its names, and nothing of the machine it was written on."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = {
    "setup", "experiment", "rehearse", "sweep", "sweep-report", "dashboard", "ui", "report",
    "test", "test-all", "check", "bench", "clean", "help",
}  # fmt: skip
NAMED_TARGETS = ("experiment", "rehearse", "sweep", "report")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def files() -> list[Path]:
    """All files that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_make_help_lists_every_target_and_variable() -> None:
    makefile = (ROOT / "Makefile").read_text()
    helped = make("help").stdout
    assert set(re.findall(r"^  make ([a-z-]+) +\S", helped, re.MULTILINE)) == TARGETS
    assert set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) == TARGETS
    set_by_user = set(re.findall(r"\$\((?:if |foreach \w,\$\()?([A-Z_]+)\)", makefile)) - {
        "MAKEFILE_LIST",
        "MAKECMDGOALS",
    }
    described = set(re.findall(r"^  ([A-Z_]+) ", helped, re.MULTILINE))
    assert set_by_user - {"VENV", "PYTHON"} == described


def test_make_alone_shows_the_help() -> None:
    assert make().stdout == make("help").stdout


@pytest.mark.parametrize("target", NAMED_TARGETS)
def test_a_missing_name_is_one_line_of_usage(target: str) -> None:
    result = make("--no-print-directory", target)
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == f"usage: make {target} NAME=digits"


def test_overrides_reach_the_command_one_by_one() -> None:
    shown = make(
        "--dry-run", "experiment", "NAME=own/mine", "SET=student.alpha=0.3 joint.beta=2", "ONLY=baseline student",
        "FRESH=student", "SEEDS=0 1", "DEVICES=2", "MLRUNS=elsewhere", "ARGS=--quick",
    ).stdout  # fmt: skip
    assert "-m kdlab run experiments/own/mine.yaml" in shown
    for option in [
        "--set 'student.alpha=0.3'", "--set 'joint.beta=2'", "--only 'baseline'", "--only 'student'",
        "--fresh 'student'", "--seeds '0 1'", "--devices '2'", "--mlruns 'elsewhere'", "--quick",
    ]:  # fmt: skip
        assert option in shown


def test_short_class_names_are_unique() -> None:
    # The YAML says SoftTargets, not kdlab.losses.logits.soft_targets.SoftTargets.
    places = defaultdict(list)
    for file in (ROOT / "kdlab").rglob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(file.relative_to(ROOT)))
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice, f"these class names stand in more than one file: {twice}"


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    absolute = re.compile(r"""(?<![\w.~/:$})-])/(?:home|root|Users|work|mnt|srv|media)/[\w.-]+""")
    found = []
    for file in files():
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # a picture
            continue
        found += [f"{file.relative_to(ROOT)}: {path}" for path in absolute.findall(text)]
    assert not found, f"absolute paths: {found}"


def test_what_an_experiment_writes_is_not_tracked() -> None:
    tracked = [file.relative_to(ROOT).as_posix() for file in files()]
    assert [name for name in tracked if name.startswith("mlruns/")] == ["mlruns/.gitkeep"]
    assert not [name for name in tracked if name.endswith((".ckpt", ".safetensors", ".db", ".pyc"))]


def test_the_proven_set_names_no_build_and_no_place() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 15
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), f"constraints.txt: {line}"


def required(*tables: str) -> set[str]:
    """The packages that these tables of pyproject.toml name, in lower case."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
    return {re.split(r"[\[<>=]", line)[0].lower() for table in tables for line in lists[table]} - {"kdlab"}


def test_every_imported_package_is_required() -> None:
    published_as = {"PIL": "pillow", "google": "protobuf", "sklearn": "scikit-learn", "yaml": "pyyaml"}
    imported = {name.split(".")[0] for file in (ROOT / "kdlab").rglob("*.py") for name in imports_of(file)}
    needed = {published_as.get(name, name) for name in imported - sys.stdlib_module_names - {"kdlab", "psycopg", "ray"}}
    assert needed <= required("dependencies", "data", "text")


def test_every_requirement_has_a_proven_version() -> None:
    needed = required("dependencies", "boosting", "data", "postgres", "ray", "test")
    proven = {
        line.split("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    assert len(needed) > 15
    assert needed <= proven


def broken_lines(path: Path) -> list[str]:
    """Lines of docstrings that end early although the next word, of the same paragraph, had room."""
    found, text = [], path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        if not documented:
            continue
        place = node.body[0]
        lines = text.splitlines()[place.lineno - 1 : place.end_lineno]
        for line, following in pairwise(lines[1:]):
            ended = line.rstrip().endswith((":", ".")) or not line.strip() or not following.strip(' "')
            begins = re.match(r"\s*([\w*, .]+: |- |\||``)", following) is not None
            if not ended and not begins and len(line) + 1 + len(following.split()[0]) <= 100:
                found.append(f"{path.name}: {line.strip()}")
    return found


def test_no_paragraph_of_a_docstring_is_broken_in_its_middle() -> None:
    paths = sorted((ROOT / "kdlab").rglob("*.py"))
    assert len(paths) > 200
    assert not [line for path in paths for line in broken_lines(path)]


def asserts(function: ast.FunctionDef) -> bool:
    """Whether a test can fail by more than an error: it asserts, checks, or demands that something is raised."""
    for node in ast.walk(function):
        called = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
        checked = isinstance(node, ast.keyword) and node.arg == "check" and ast.unparse(node.value) == "True"
        if (
            isinstance(node, ast.Assert)
            or checked
            or called.startswith(("check", "assert", "raises", "warns", "gradcheck"))
        ):
            return True
    return False


def test_every_test_asserts_something() -> None:
    trees = {path: ast.parse(path.read_text()) for path in sorted((ROOT / "tests").rglob("test_*.py"))}
    functions = [
        (path, node) for path, tree in trees.items() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
    ]
    tests = [(path, node) for path, node in functions if node.name.startswith("test_")]
    assert len(tests) > 500
    silent = [f"{path.name}::{node.name}" for path, node in tests if not asserts(node)]
    assert not silent, f"these assert nothing: {silent}"


READING_PATH_LINES = 2500


def test_the_reading_path_is_short_and_its_files_exist() -> None:
    marked = re.search(r"<!-- path -->\n(.*?)<!-- end -->", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert marked is not None
    lines = marked[1].splitlines()
    steps = [re.fullmatch(r"(\d+)\. `(kdlab/[\w/]+\.py)`: .+\.", line) for line in lines]
    assert all(steps), "a step is a number, a file in backticks, and what it is, on one line"
    files = [step[2] for step in steps if step is not None]
    assert [step[1] for step in steps if step is not None] == [str(number + 1) for number in range(len(lines))]
    assert len(set(files)) == len(files) > 9
    assert sum(len((ROOT / file).read_text().splitlines()) for file in files) <= READING_PATH_LINES


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "AGENTS.md", "docs/how-it-runs.md", "README.md"])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    named = re.findall(
        r"`((?:kdlab|tests|docs|experiments|benchmarks)/[\w/.-]+\.(?:py|md|yaml))(?:::[^`]*)?`",
        (ROOT / page).read_text(),
    )
    assert named or page == "README.md"
    shown = set(re.findall(r"^# (experiments/\S+)$", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert not [file for file in named if not (ROOT / file).exists() and file not in shown]
