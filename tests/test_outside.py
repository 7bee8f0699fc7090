"""Five plain classes in a user's folder, none of which imports kdlab, run from YAML; editing their code retrains."""

import sys
from pathlib import Path

import pytest
import yaml

from kdlab.configuration.experiment import read
from kdlab.stages.context import plan
from kdlab.stages.options import Options
from kdlab.stages.run import run

MODEL = """
from torch import Tensor, nn


class Line(nn.Module):
    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.line = nn.Linear(inputs, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.line(inputs)
"""
LOSS = """
from torch import Tensor, nn


class Closeness(nn.Module):
    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return (logits - teacher_logits).abs().pow(self.power).mean()
"""
METRIC = """
import torch
from torch import Tensor
from torchmetrics import Metric


class Boldness(Metric):
    higher_is_better = None
    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor) -> None:
        self.total += logits.softmax(1).amax(1).sum()
        self.count += len(logits)

    def compute(self) -> Tensor:
        return self.total / self.count
"""
EXPLAINER = """
import torch
from torch import Tensor, nn


class Copycat(nn.Module):
    multiplies_by_inputs = False
    differentiable = True

    def __init__(self, model: nn.Module, inputs: int, classes: int) -> None:
        super().__init__()
        self.line = nn.Linear(inputs, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.line(inputs)

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        chosen = self(inputs).argmax(1) if target is None else target
        return self.line.weight[chosen]
"""
DATA = """
import lightning.pytorch as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Stripes(L.LightningDataModule):
    def __init__(self, samples: int = 96) -> None:
        super().__init__()
        self.samples = samples

    def loader(self, seed: int) -> DataLoader:
        generator = torch.Generator().manual_seed(seed)
        target = torch.randint(3, (self.samples,), generator=generator)
        inputs = torch.randn(self.samples, 6, generator=generator) * 0.3
        inputs[torch.arange(self.samples), target] += 1
        return DataLoader(TensorDataset(inputs, target), batch_size=16)

    def train_dataloader(self) -> DataLoader:
        return self.loader(0)

    def val_dataloader(self) -> DataLoader:
        return self.loader(1)

    def test_dataloader(self) -> DataLoader:
        return self.loader(2)
"""
SIZES = {"inputs": 6, "classes": 3}


@pytest.fixture
def experiment(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The five files in a package whose name no other test has, and an experiment that names them."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    package = f"mine_{request.node.name.split('[')[0]}"
    folder = tmp_path / package
    folder.mkdir()
    for name, code in {"model": MODEL, "loss": LOSS, "metric": METRIC, "explainer": EXPLAINER, "data": DATA}.items():
        (folder / f"{name}.py").write_text(code)
    model = {"class_path": f"{package}.model.Line", "init_args": SIZES}
    term = {"close": {"loss": {"class_path": f"{package}.loss.Closeness", "init_args": {"power": 2.0}}}}
    explainer = {"class_path": f"{package}.explainer.Copycat", "init_args": SIZES}
    content = {
        "data": {"class_path": f"{package}.data.Stripes"},
        "trainer": {"max_epochs": 2},
        "evaluate": {
            "explainer": {"class_path": "InputGradient"},
            "probe": 16,
            "metrics": {"boldness": {"class_path": f"{package}.metric.Boldness"}},
        },
        "stages": {
            "teacher": {"module": {"class_path": "Supervised", "init_args": {"model": model}}},
            "joint": {
                "teacher": "teacher",
                "module": {
                    "class_path": "Joint",
                    "init_args": {"model": model, "distill": term, "explainer": explainer},
                },
            },
        },
    }
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_they_run_and_only_an_edit_of_code_retrains(experiment: Path, tmp_path: Path) -> None:
    options = Options(mlruns=tmp_path / "mlruns", accelerator="cpu")
    for one in run(read(experiment), options).nodes:
        found = one.folder.test_result(one.evaluation)
        assert found is not None
        assert 1 / 3 <= found.metrics["test/boldness"] <= 1
        assert one.stage == "teacher" or "test/explainer/agreement" in found.metrics

    def untrained() -> set[str]:
        # As in another process: this one has the code that it imported.
        for name in [name for name in sys.modules if name.startswith("mine_")]:
            del sys.modules[name]
        return {one.stage for one in plan(read(experiment), options) if not one.trained}

    loss = next(tmp_path.glob("mine_*/loss.py"))
    loss.write_text(f"# A remark.\n{LOSS}")
    assert untrained() == set()
    loss.write_text(LOSS.replace(".mean()", ".sum()"))
    assert untrained() == {"joint"}
    loss.write_text(LOSS)
    model = next(tmp_path.glob("mine_*/model.py"))
    model.write_text(MODEL.replace("self.line(inputs)", "2 * self.line(inputs)"))
    assert untrained() == {"teacher", "joint"}
