"""The end of a training whose validations were not all explained: the chosen epoch is."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

import kdlab.stages.training
from kdlab.configuration.experiment import read
from kdlab.errors import ConfigurationError, DivergedError, Interrupted, StageError
from kdlab.modules.distilled import Distilled
from kdlab.records.files import Record
from kdlab.records.stage_folder import StageFolder
from kdlab.stages.context import plan
from kdlab.stages.graph import StageNode
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse
from kdlab.stages.run import run
from kdlab.sweep.criteria import Measured
from tests.experiments import content, written

DELETION = "val/explanation/deletion_auc"
#: Five epochs of which the last alone is explained while training.
RARELY = ("trainer.max_epochs=5", "evaluate.every=9", "seeds=[0]")


class Same(Metric):
    """The same number in every epoch, so that the first is chosen."""

    higher_is_better = True

    def update(self, logits: Tensor) -> None:
        """Take in nothing."""

    def compute(self) -> Tensor:
        """Return 1."""
        return torch.ones(())


@pytest.fixture(scope="module", autouse=True)
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One MLflow database for all: making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
        yield


def experiment(folder: Path) -> Path:
    """A teacher and a student of which the first epoch is chosen."""
    stages = {name: content()["stages"][name] for name in ("teacher", "student")}
    metrics = {"same": {"class_path": "tests.stages.test_training.Same"}}
    evaluate = {**content()["evaluate"], "metrics": metrics}
    return written(
        folder, evaluate=evaluate, stages={**stages, "student": {**stages["student"], "monitor": "val/same"}}
    )


def ran(folder: Path, mlruns: Path, overrides: Sequence[str] = RARELY) -> StageNode:
    outcome = run(read(experiment(folder), overrides), Options(mlruns=mlruns, accelerator="cpu"))
    return next(one for one in outcome.nodes if one.stage == "student")


def lines(folder: StageFolder) -> list[Record]:
    return [json.loads(line) for line in folder.journal.read_text().splitlines()]


@pytest.fixture(scope="module")
def rare(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, StageNode]:
    folder = tmp_path_factory.mktemp("rare")
    return folder, ran(folder, folder / "mlruns")


def test_the_chosen_epoch_is_explained_at_the_end_as_it_would_have_been(
    rare: tuple[Path, StageNode], tmp_path: Path
) -> None:
    _, one = rare
    done = one.folder.done
    assert done is not None
    assert done.epoch == 0
    explained = {line["epoch"]: line for line in lines(one.folder) if DELETION in line["metrics"]}
    assert set(explained) == {0, 4}
    always = ran(tmp_path, tmp_path / "mlruns", (*RARELY, "evaluate.every=1"))
    assert always.folder.fingerprint == one.folder.fingerprint
    assert always.evaluation == one.evaluation
    expected = {line["epoch"]: line for line in lines(always.folder) if DELETION in line["metrics"]}
    assert set(expected) == set(range(5))
    for epoch, found in explained.items():
        assert found["step"] == expected[epoch]["step"]
        assert found["metrics"] == {
            name: pytest.approx(expected[epoch]["metrics"][name], abs=1e-6) for name in found["metrics"]
        }


def test_no_value_is_logged_twice_for_a_step(rare: tuple[Path, StageNode]) -> None:
    _, one = rare
    points = Counter((line["step"], name) for line in lines(one.folder) for name in line["metrics"])
    assert max(points.values()) == 1
    assert one.folder.committed == one.folder.journal.stat().st_size


def test_a_sweep_reads_the_chosen_epochs_explanations(rare: tuple[Path, StageNode]) -> None:
    folder, one = rare
    done = one.folder.done
    assert done is not None
    measured = Measured("student", DELETION)
    experiment_ = read(experiment(folder), RARELY)
    assert measured.value(experiment_, [one]) == measured.per_epoch(one.folder)[done.epoch]


def test_time_for_it_counts_as_evaluation_and_as_training(rare: tuple[Path, StageNode]) -> None:
    done = rare[1].folder.done
    assert done is not None
    assert 0 < done.evaluation_seconds < done.seconds


def test_a_stop_before_the_end_changes_nothing(
    rare: tuple[Path, StageNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kdlab.stages.training, "CHECKPOINT_SECONDS", 0.0)
    finish = kdlab.stages.training.finish

    def stopped(folder: StageFolder, *arguments: Any) -> None:
        if folder.record.stage == "student":
            raise KeyboardInterrupt
        finish(folder, *arguments)

    monkeypatch.setattr(kdlab.stages.training, "finish", stopped)
    with pytest.raises(Interrupted):
        ran(tmp_path, tmp_path / "mlruns")
    folder = StageFolder(tmp_path / "mlruns" / "stages" / rare[1].folder.fingerprint)
    assert folder.resume.exists()
    assert any(line["epoch"] == 0 and DELETION in line["metrics"] for line in lines(folder))
    monkeypatch.setattr(kdlab.stages.training, "finish", finish)
    ran(tmp_path, tmp_path / "mlruns")

    def told(folder: StageFolder) -> list[tuple[int, int, dict[str, float]]]:
        return [(line["step"], line["epoch"], line["metrics"]) for line in lines(folder)]

    assert told(folder) == told(rare[1].folder)


def test_how_often_is_explained_neither_trains_nor_tests_again(rare: tuple[Path, StageNode]) -> None:
    folder, _ = rare
    planned = plan(read(experiment(folder), (*RARELY, "evaluate.every=2")), Options(mlruns=folder / "mlruns"))
    assert all(one.trained and one.tested for one in planned)


def test_a_monitor_that_is_not_always_computed_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    wrong = ["evaluate.every=2", f"student.monitor={DELETION}"]
    with pytest.raises(ConfigurationError, match=r"one validation in 2.*set evaluate.every to 1"):
        rehearse(read(path, wrong), Options(mlruns=tmp_path / "mlruns"))
    rehearse(read(path, wrong[1:]), Options(mlruns=tmp_path / "mlruns"))
    rehearse(read(path, [wrong[0], "joint.monitor=val/explainer/agreement"]), Options(mlruns=tmp_path / "mlruns"))


class Poke(lightning.Callback):
    """Writes to the teacher of the module that is trained."""

    @torch.no_grad()
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, Distilled)
        assert pl_module.teacher is not None
        next(iter(pl_module.teacher.network.state_dict().values())).add_(1e-3)


def test_a_teacher_that_was_written_to_ends_the_stage_in_one_line(tmp_path: Path) -> None:
    stages = {name: content()["stages"][name] for name in ("teacher", "student")}
    stages["student"]["callbacks"] = [{"class_path": "tests.stages.test_training.Poke"}]
    path = written(tmp_path, seeds=[0], stages=stages, trainer={"max_epochs": 1})
    with pytest.raises(StageError, match="stage 'student' changed its teacher while it trained"):
        run(read(path), Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))


class Undefined(Same):
    """Never a number."""

    def compute(self) -> Tensor:
        """Return NaN."""
        return torch.tensor(torch.nan)


def test_a_monitor_that_never_was_a_number_ends_the_stage_in_one_line(tmp_path: Path) -> None:
    stages = {"baseline": {**content()["stages"]["baseline"], "monitor": "val/undefined"}}
    evaluate = {
        **content()["evaluate"],
        "metrics": {"undefined": {"class_path": "tests.stages.test_training.Undefined"}},
    }
    path = written(tmp_path, seeds=[0], stages=stages, evaluate=evaluate)
    with pytest.raises(DivergedError, match="val/undefined was never a number; the training diverged"):
        run(read(path), Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    assert not list((tmp_path / "mlruns" / "stages").glob("*/done.json"))


def test_a_standard_measure_can_be_left_out(tmp_path: Path) -> None:
    left_out = {"explanation/deletion_auc": None, "macro_f1": None}
    evaluate = {**content()["evaluate"], "metrics": left_out}
    outcome = run(
        read(written(tmp_path, evaluate=evaluate), ["seeds=[0]", "trainer.max_epochs=1"]),
        Options(mlruns=tmp_path / "mlruns", accelerator="cpu", only=("joint",)),
    )
    one = outcome.nodes[-1]
    logged = {name for line in lines(one.folder) for name in line["metrics"]}
    tested = one.folder.test_result(one.evaluation)
    assert tested is not None
    names = logged | set(tested.metrics)
    assert not [name for name in names if name.endswith(("deletion_auc", "macro_f1"))]
    assert {"val/explanation/insertion_auc", "val/explainer/insertion_auc", "test/accuracy"} <= names
    assert outcome.report.html.is_file()
