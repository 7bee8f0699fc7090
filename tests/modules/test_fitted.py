"""A stage that is fitted at once: to which samples, once, and taught from as from any teacher."""

import copy
import json
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn

from kdlab.configuration.experiment import read
from kdlab.data.digits import Digits
from kdlab.errors import StageError
from kdlab.modules.fitted import Fitted
from kdlab.records.weights import load_weights
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.experiments import SOFT, STUDENT, stage, written
from tests.models.test_estimator_bytes import BOOSTING, boosting
from tests.stages.resumes import bench, check_every_checkpoint, place


class Recorder(nn.Module):
    """Keeps what it is fitted to."""

    def __init__(self) -> None:
        super().__init__()
        self.fits: list[tuple[Tensor, Tensor]] = []
        self.asked = 0

    def fit(self, inputs: Tensor, target: Tensor) -> None:
        self.fits.append((inputs, target))

    def forward(self, inputs: Tensor) -> Tensor:
        self.asked += len(inputs)
        return inputs.new_zeros(len(inputs), 10)


def trained(data: lightning.LightningDataModule, **arguments: Any) -> Recorder:
    model = Recorder()
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    trainer = lightning.Trainer(enable_model_summary=False, num_sanity_val_steps=0, **quiet, **arguments)
    trainer.fit(Fitted(model), datamodule=data)
    assert trainer.current_epoch == 1
    return model


@pytest.mark.parametrize("labelled", [None, 40])
@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_it_is_fitted_once_to_each_labelled_training_sample_in_order(labelled: int | None) -> None:
    data = Digits(batch_size=64).arranged(3, labelled, transfer=False)
    model = trained(data, max_epochs=7, check_val_every_n_epoch=3)
    ((inputs, target),) = model.fits
    assert model.asked == len(data.splits["val"]["target"])  # the one epoch is validated
    train = data.splits["train"]
    rows = train["target"] >= 0
    assert int(rows.sum()) == (labelled or len(rows))
    assert torch.equal(inputs, train["inputs"][rows])
    assert torch.equal(target, train["target"][rows])


def test_a_model_without_fit_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Linear has no fit\(inputs, target\)"):
        Fitted(nn.Linear(2, 2))


FOREST = {
    "class_path": "Estimator",
    "init_args": {
        "classes": 3,
        "estimator": {"class_path": "sklearn.ensemble.RandomForestClassifier", "init_args": {"n_estimators": 20}},
    },
}


def boosted(class_path: str) -> dict[str, Any]:
    estimator = {"class_path": class_path, "init_args": BOOSTING[class_path]}
    model = {"class_path": "Estimator", "init_args": {"estimator": estimator}}
    return {"class_path": "Fitted", "init_args": {"model": model}}


STUDENT_STAGE = {"teacher": "forest", "module": stage("Distilled", STUDENT, distill=SOFT)}


def experiment(folder: Path, **changes: Any) -> Path:
    forest = {"module": {"class_path": "Fitted", "init_args": {"model": FOREST}}, **changes}
    return written(folder, stages={"forest": forest, "student": STUDENT_STAGE}, evaluate={})


def test_a_forest_teaches_a_student_and_is_reused(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    first = run(read(path), Options(mlruns=tmp_path / "mlruns"))
    forest, student = (node.folder for node in first.nodes[:2])
    assert [node.stage for node in first.nodes] == ["forest", "student", "student"]
    done = json.loads((forest.path / "done.json").read_text())
    assert done["epochs"] == 1
    assert done["best"] > 0.6  # a third by guessing
    assert set(load_weights(forest.weights)) == {"model.state"}
    scores = json.loads(next(student.path.glob("test-*.json")).read_text())["metrics"]
    assert scores["test/fidelity/agreement"] > 0.5
    assert "cost/parameters" in scores
    own = json.loads(next(forest.path.glob("test-*.json")).read_text())["metrics"]
    assert "cost/parameters" not in own  # it has no weights, and 0 would say that it is free
    assert own["cost/bytes"] == load_weights(forest.weights)["model.state"].numel()
    second = run(read(path), Options(mlruns=tmp_path / "mlruns"))
    assert {node.folder.path for node in second.nodes} == {node.folder.path for node in first.nodes}


def test_another_number_of_trees_is_another_stage(tmp_path: Path) -> None:
    path = experiment(tmp_path)
    options = Options(mlruns=tmp_path / "mlruns")
    name = "forest.n_estimators=21"
    before, after = (Context(read(path, overrides), options).plan() for overrides in ([], [name]))
    assert all(one.fingerprint != other.fingerprint for one, other in zip(before, after, strict=True))


def test_an_estimator_that_is_never_fitted_is_refused(tmp_path: Path) -> None:
    path = experiment(tmp_path, trainer={"max_epochs": 0})
    with pytest.raises(StageError, match=r"stage 'forest': .*max_epochs: 0 would leave it as it is"):
        run(read(path), Options(mlruns=tmp_path / "mlruns"))


def test_a_stage_goes_on_from_each_of_its_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = {"alone": {"module": {"class_path": "Fitted", "init_args": {"model": FOREST}}}}
    copies = check_every_checkpoint(bench(tmp_path, monkeypatch, fitted, evaluate={}), monkeypatch, tmp_path / "kept")
    # The one epoch's batches, in which nothing happens any more.
    assert [place(copy) for copy in copies] == [(0, 1), (0, 2), (0, 3), (0, 4)]


def test_boosting_of_other_libraries_teaches_patients_and_is_reused(tmp_path: Path) -> None:
    network = {"class_path": "MLP", "init_args": {"hidden": [8]}}
    stages: dict[str, Any] = {}
    for number, class_path in enumerate(BOOSTING):
        boosting(class_path)
        student = {"labelled": 20, "module": stage("Distilled", network, distill=SOFT)}
        stages[f"teacher{number}"] = {"module": boosted(class_path)}
        stages[f"student{number}"] = {"teacher": f"teacher{number}", **student}
    common: dict[str, Any] = {"data": {"class_path": "BreastCancer"}, "seeds": [0], "trainer": {"max_epochs": 5}}
    path = written(tmp_path, stages=stages, evaluate={}, **common)
    first = run(read(path), Options(mlruns=tmp_path / "mlruns"))
    assert len(first.nodes) == 4
    for node in first.nodes:
        scores = json.loads(next(node.folder.path.glob("test-*.json")).read_text())["metrics"]
        name = "test/fidelity/agreement" if node.stage.startswith("student") else "test/accuracy"
        assert scores[name] > 0.85, node.stage
    written_at = [node.folder.weights.stat().st_mtime_ns for node in first.nodes]
    second = run(read(path), Options(mlruns=tmp_path / "mlruns"))
    assert [node.folder.weights.stat().st_mtime_ns for node in second.nodes] == written_at


@pytest.mark.parametrize("class_path", BOOSTING)
def test_boosting_of_other_libraries_goes_on_from_each_checkpoint(
    class_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boosting(class_path)
    alone = bench(tmp_path, monkeypatch, {"alone": {"module": boosted(class_path)}}, evaluate={})
    assert len(check_every_checkpoint(alone, monkeypatch, tmp_path / "kept")) == 4


def test_what_the_estimator_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forest = copy.deepcopy(FOREST)
    forest["init_args"]["estimator"]["init_args"]["n_estimators"] = -1
    stages = {"alone": {"module": {"class_path": "Fitted", "init_args": {"model": forest}}}}
    alone = bench(tmp_path, monkeypatch, stages, evaluate={})
    with pytest.raises(StageError, match="Estimator is not fitted: RandomForestClassifier refuses the training sample"):
        alone.keeping(tmp_path / "kept")
