"""Data modules and LightningModules that know nothing of kdlab, through plan, rehearse and run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kdlab.configuration.experiment import read
from kdlab.data.adopted import ForeignData
from kdlab.errors import StageError
from kdlab.records.executions import read_execution
from kdlab.records.files import read_json
from kdlab.stages.context import Context, plan
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse
from kdlab.stages.run import Outcome, run
from tests.experiments import SOFT, content, stage, written
from tests.stages.foreign import Pairs

MODEL = {"class_path": "MLP", "init_args": {"inputs": 64, "classes": 3, "hidden": [8]}}
TREE = {"class_path": "RuleTree", "init_args": {"inputs": 64, "classes": 3}}
PAIRS = {"class_path": "tests.stages.foreign.Pairs"}
THEIRS = {"module": {"class_path": "tests.stages.foreign.Theirs", "init_args": {"model": MODEL}}}
STAGES = {
    "theirs": THEIRS,
    "student": {"teacher": "theirs", "module": stage("Distilled", MODEL, distill=SOFT)},
    "joint": {"teacher": "theirs", "module": stage("Joint", MODEL, distill=SOFT, explainer=TREE)},
}
pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")


@pytest.fixture(scope="module", autouse=True)
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One MLflow database for all: making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
        yield


def options(folder: Path) -> Options:
    return Options(mlruns=folder / "mlruns", accelerator="cpu")


def ran(folder: Path, **changes: Any) -> Outcome:
    path = written(folder, **{"seeds": [0], "stages": STAGES, **changes})
    return run(read(path), options(folder))


@pytest.fixture(scope="module")
def all_foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """Foreign data and a foreign teacher of kdlab's students."""
    folder = tmp_path_factory.mktemp("foreign")
    return folder, ran(folder, data=PAIRS)


@pytest.fixture(scope="module")
def foreign_module(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """The same stages on kdlab's data."""
    folder = tmp_path_factory.mktemp("module")
    return folder, ran(folder)


def results(outcome: Outcome) -> dict[str, dict[str, float]]:
    """The test's metrics by stage, without costs that only show at times."""
    by_stage = {node.stage: node.folder.test_result(node.evaluation) for node in outcome.nodes}
    assert all(by_stage.values())
    metrics = {name: result.metrics for name, result in by_stage.items() if result is not None}
    return {name: {key: value for key, value in of.items() if "memory" not in key} for name, of in metrics.items()}


@pytest.mark.parametrize("outcome", ["all_foreign", "foreign_module"])
def test_a_foreign_module_is_scored_as_every_other_stage(outcome: str, request: pytest.FixtureRequest) -> None:
    metrics = results(request.getfixturevalue(outcome)[1])
    assert metrics.keys() == {"theirs", "student", "joint"}
    assert set(metrics["theirs"]) >= {"test/accuracy", "test/macro_f1", "test/explanation/gini", "cost/parameters"}
    assert set(metrics["student"]) >= set(metrics["theirs"])
    assert set(metrics["student"]) >= {"test/fidelity/agreement"}
    assert set(metrics["joint"]) >= set(metrics["student"]) | {"test/explainer/agreement"}
    assert all(values["cost/parameters"] == 547 for values in metrics.values()), "the module is its own network"


def test_of_foreign_data_nothing_is_recorded_and_no_sample_is_drawn(all_foreign: tuple[Path, Outcome]) -> None:
    folder, outcome = all_foreign
    execution = read_execution(folder / "mlruns", outcome.execution)
    assert execution is not None
    assert execution.data is None
    for node in outcome.nodes:
        record = node.folder.record
        assert record is not None
        assert record.unknown_data == "Pairs"
        assert not list(node.folder.path.glob("soft_labels*")), "no sample has a number"
        assert "attributions.png" not in {path.name for path in node.folder.figures()}
        assert (node.folder.path / "explainer.txt").exists() == (node.stage == "joint")


def test_of_kdlabs_data_all_is_recorded_beside_a_foreign_module(foreign_module: tuple[Path, Outcome]) -> None:
    folder, outcome = foreign_module
    execution = read_execution(folder / "mlruns", outcome.execution)
    assert execution is not None
    assert execution.data is not None
    assert execution.data["samples"] == {"train": 80, "val": 40, "test": 40}
    theirs = next(node.folder for node in outcome.nodes if node.stage == "theirs")
    record = read_json(theirs.path / "stage.json")
    assert record is not None
    assert record["unknown_data"] is None
    assert (theirs.path / "soft_labels.npy").exists()
    assert all("attributions.png" in {path.name for path in node.folder.figures()} for node in outcome.nodes)


@pytest.mark.parametrize("outcome", ["all_foreign", "foreign_module"])
def test_what_is_finished_is_planned_as_reused(outcome: str, request: pytest.FixtureRequest) -> None:
    folder, before = request.getfixturevalue(outcome)
    again = plan(read(folder / "made_up.yaml"), options(folder))
    assert [node.fingerprint for node in again] == [node.fingerprint for node in before.nodes]
    assert len(again) == 3
    assert all(node.trained and node.tested for node in again)


@pytest.mark.parametrize("data", [PAIRS, content()["data"]], ids=["foreign data", "kdlab's data"])
def test_the_balance_of_terms_is_shown_of_modules_that_have_terms(data: dict[str, Any], tmp_path: Path) -> None:
    lines = rehearse(read(written(tmp_path, data=data, stages=STAGES)), options(tmp_path))
    heads = [number for number, line in enumerate(lines) if not line.startswith(" ")]
    assert [lines[number].split(",")[0] for number in heads] == ["theirs: Theirs", "student: Distilled", "joint: Joint"]
    assert heads[1] - heads[0] == 1
    assert [line.split()[0] for line in lines[heads[1] + 1 : heads[2]]] == ["task", "soft"]


def test_foreign_data_cannot_be_cut_to_fewer_labels(tmp_path: Path) -> None:
    stages = {**STAGES, "theirs": {**THEIRS, "labelled": 12}}
    experiment = read(written(tmp_path, data=PAIRS, stages=stages))
    with pytest.raises(StageError, match=r"^stage 'theirs': 12 labels are asked for, but Pairs is no kdlab data"):
        rehearse(experiment, options(tmp_path))


def test_kdlabs_data_are_cut_for_a_foreign_module_too(tmp_path: Path) -> None:
    stages = {"theirs": {**THEIRS, "labelled": 12}}
    context = Context(read(written(tmp_path, stages=stages)), options(tmp_path))
    seeded = context.seeded_stage(context.graph.node("theirs", 0))
    batches = list(seeded.arranged_data(seeded.build()).lightning.train_dataloader())
    assert len(batches) == 5, "as many as with all labels"
    index = torch.cat([batch["index"] for batch in batches])
    assert len(set(index.tolist())) == 12
    assert all(int((batch["target"] < 0).sum()) == 0 for batch in batches)


def test_a_monitor_that_does_not_exist_is_refused_before_a_foreign_module_trains(tmp_path: Path) -> None:
    stages = {"theirs": {**THEIRS, "monitor": "val/nothing"}}
    with pytest.raises(StageError, match="monitor 'val/nothing' is no metric of the evaluation"):
        rehearse(read(written(tmp_path, stages=stages)), options(tmp_path))


def test_a_context_adopts_its_data_once(tmp_path: Path) -> None:
    experiment = read(written(tmp_path, data=PAIRS, stages=STAGES))
    context = Context(experiment, options(tmp_path))
    assert isinstance(context.data, ForeignData)
    assert isinstance(context.data.lightning, Pairs)
    assert context.data_hash is None
    assert Context(experiment, options(tmp_path), before=context).data is context.data
    assert context.seeded_stage(context.graph.node("theirs", 0)).data is context.data
