"""What a test writes down: numbers of the test data, of the explainer, and the score of every sample."""

from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor, nn

from kdlab.configuration.experiment import read
from kdlab.errors import StageError
from kdlab.stages.context import plan
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.experiments import content, stage, written

TREE = {"class_path": "RuleTree", "init_args": {"inputs": 64, "classes": 3}}
FIXED = {"class_path": "tests.stages.test_scoring.Fixed"}


class Fixed(nn.Module):
    """A network without a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = inputs.flatten(1) @ self.get_buffer("weight")
        return logits


@pytest.fixture(scope="module", autouse=True)
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One MLflow database for all: making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
        yield


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, float], dict[str, numpy.ndarray]]:
    """What a joint stage with a refitted tree is said to be, and its samples' scores; its teacher has no parameters."""
    folder = tmp_path_factory.mktemp("joint")
    stages = {
        "teacher": {"trainer": {"max_epochs": 0}, "module": stage("Supervised", FIXED)},
        "joint": {**content()["stages"]["joint"]},
    }
    stages["joint"]["module"]["init_args"]["explainer"] = TREE
    path = written(folder, seeds=[0], trainer={"max_epochs": 1}, stages=stages)
    run(read(path), Options(mlruns=folder / "mlruns"))
    (planned,) = [one for one in plan(read(path), Options(mlruns=folder / "mlruns")) if one.stage == "joint"]
    (file,) = planned.folder.path.glob("scores-*.npz")
    results = planned.folder.test_result(planned.evaluation)
    assert results is not None
    with numpy.load(file) as arrays:
        return dict(results.metrics), dict(arrays)


def test_numbers_of_the_training_data_do_not_stand_under_test(joint: tuple[dict[str, float], object]) -> None:
    metrics, _ = joint
    assert 0 < metrics["train/explainer/agreement_fitted"] <= 1
    assert metrics["train/explainer/leaves"] >= 1
    # Under test stands what was scored on the test split.
    told = {name.removeprefix("train/explainer/") for name in metrics if name.startswith("train/explainer/")}
    tested = {name.removeprefix("test/explainer/") for name in metrics if name.startswith("test/explainer/")}
    assert {"agreement", "kl", "deletion_auc"} <= tested
    assert len(told) > 4
    assert not told & tested


def test_every_kind_of_attribution_has_a_score_for_each_sample(
    joint: tuple[dict[str, float], dict[str, numpy.ndarray]],
) -> None:
    metrics, scores = joint
    for prefix in ("explanation", "explainer", "explanation/random", "explanation/untrained"):
        for name in ("deletion_auc", "insertion_auc", "infidelity_logits"):
            whole = f"{prefix}/{name}"
            assert scores[whole].shape == scores[f"{whole}:index"].shape == (16,)
            assert numpy.isnan(scores[whole]).sum() == metrics.get(f"test/{whole}_nan", 0.0), whole
    assert scores["explanation/shuffled/teacher_cosine"].shape == (16,)


def test_a_network_without_parameters_can_teach(joint: tuple[dict[str, float], object]) -> None:
    metrics, _ = joint
    assert 0 <= metrics["test/fidelity/agreement"] <= 1


def test_a_network_without_parameters_cannot_be_trained(tmp_path: Path) -> None:
    path = written(tmp_path, seeds=[0], stages={"teacher": {"module": stage("Supervised", FIXED)}})
    with pytest.raises(StageError, match=r"Fixed has no parameters to train; set trainer: \{max_epochs: 0\} to take"):
        run(read(path), Options(mlruns=tmp_path / "mlruns"))
