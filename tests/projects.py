"""A user's project, small enough to plan in a moment: own classes of every kind, each given files, on own data."""

import shutil
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kdlab.configuration.experiment import read
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from tests.data.made_up import write_csv

OWN = '''
"""A user's classes; each may be given a file."""
import lightning.pytorch as lightning
import torch
from torch import nn
from torchmetrics import MeanMetric

import helping


class Net(nn.Module):
    def __init__(self, file: str | None = None, width: int = 4, extra: float | int = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))

    def forward(self, inputs):
        return self.layers(inputs) * helping.scale()


class Loss(nn.Module):
    def __init__(self, file: str | None = None) -> None:
        super().__init__()

    def forward(self, logits, teacher_logits):
        return (logits - teacher_logits).square().mean()


class Hook(lightning.Callback):
    def __init__(self, file: str | None = None) -> None:
        pass


class Score(MeanMetric):
    def __init__(self, file: str | None = None, times: float = 1.0) -> None:
        super().__init__()

    def update(self, logits):
        super().update(logits.mean())


class Quality(MeanMetric):
    def update(self, attributions):
        super().update(attributions.mean())


class Slope(nn.Module):
    multiplies_by_inputs = False

    def __init__(self, model: nn.Module, file: str | None = None) -> None:
        super().__init__()

    def attribute(self, inputs, target=None):
        return torch.zeros_like(inputs)
'''
HELPING = "import deeper\n\n\ndef scale():\n    return deeper.VALUE\n"
DEEPER = "VALUE = 2.0\n"
DATA = '''
from pathlib import Path

import lightning.pytorch as lightning
import torch

from kdlab.data.base import DataModule


class Own(DataModule):
    """Own data with a load() that names no file at all."""

    def load(self):
        values = torch.tensor([float(x) for x in Path(__file__).with_name("values.txt").read_text().split()])
        target = torch.arange(12) % 2
        part = {"inputs": torch.stack((values, values), 1), "target": target}
        return {"train": part, "val": part, "test": part}


class Foreign(lightning.LightningDataModule):
    def __init__(self, folder: str = "nowhere") -> None:
        super().__init__()


class Honest(Foreign):
    def content_hash(self) -> str:
        return Path(__file__).with_name("values.txt").read_text()
'''
TERMS = {
    "near": {"loss": {"class_path": "owned.Loss"}},
    "soft": {"loss": {"class_path": "SoftTargets"}},
}


def stage(kind: str, model: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    """A stage of this kind around a small net."""
    net = {"class_path": "MLP", "init_args": {"inputs": 2, "classes": 2, "hidden": [4]}}
    return {"module": {"class_path": kind, "init_args": {"model": model or net, **arguments}}}


class Project:
    """A folder with experiments, own modules and data; the working directory of whoever uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.experiments = folder / "experiments"
        self.file = self.experiments / "small.yaml"
        self.experiments.mkdir(parents=True)
        for name, code in {"owned": OWN, "helping": HELPING, "deeper": DEEPER, "owned_data": DATA}.items():
            (self.experiments / f"{name}.py").write_text(code)
        (self.experiments / "values.txt").write_text(" ".join(map(str, range(12))))
        (folder / "parts").mkdir()
        np.save(folder / "parts" / "vector.npy", np.arange(3))
        self.write_table()
        self.content: dict[str, Any] = {
            "data": {"class_path": "Table", "init_args": {"path": "data/table.csv", "target": "kind", "batch_size": 4}},
            "trainer": {"max_epochs": 2},
            "evaluate": {"explainer": {"class_path": "owned.Slope"}, "probe": 4, "metrics": {}},
            "stages": {
                "teacher": stage("Supervised"),
                "baseline": stage("Supervised", {"class_path": "owned.Net", "init_args": {"width": 3}}),
                "student": {"teacher": "teacher", **stage("Distilled", distill=deepcopy(TERMS), alpha=1)},
            },
        }
        self.content["evaluate"]["metrics"]["score"] = {"class_path": "owned.Score"}
        self.content["evaluate"]["metrics"]["quality"] = {"class_path": "owned.Quality"}

    def write_table(self, first: float = 0.5, size: str = "size", kind: str = "b") -> None:
        """The data: twenty rows, the first of which can be chosen."""
        rows: list[list[object]] = [[number / 7, number % 3, "a" if number % 2 else kind] for number in range(20)]
        rows[0][0] = first
        write_csv(self.folder / "data" / "table.csv", [[size, "age", "kind"], *rows])

    def at(self, *keys: str) -> Any:
        """The part of the content at these keys; ``init_args`` are made where there are none."""
        part = self.content
        for key in keys:
            part = part.setdefault(key, {}) if key == "init_args" else part[key]
        return part

    def arguments(self, name: str) -> dict[str, Any]:
        """The arguments of a stage's module."""
        found: dict[str, Any] = self.at("stages", name, "module", "init_args")
        return found

    def edit(self, name: str, old: str, new: str) -> None:
        """Change the code of an own module."""
        file = self.experiments / f"{name}.py"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def planned(self, **options: Any) -> dict[str, tuple[str, str]]:
        """Fingerprint and evaluation of each stage, as a new process would plan them."""
        self.file.write_text(yaml.safe_dump(self.content, sort_keys=False))
        forget()
        context = Context(read(self.file), Options(mlruns=self.folder / "mlruns", **options))
        return {one.stage: (one.folder.fingerprint, one.evaluation) for one in context.plan()}

    def prints(self, **options: Any) -> dict[str, str]:
        """The fingerprint of each stage."""
        return {stage: found[0] for stage, found in self.planned(**options).items()}

    def copied(self, folder: Path) -> "Project":
        """The same project at another place."""
        copy = object.__new__(Project)
        shutil.copytree(self.folder, folder)
        copy.folder, copy.experiments = folder, folder / "experiments"
        copy.file, copy.content = copy.experiments / "small.yaml", self.content
        return copy


def forget() -> None:
    """Forget own modules, as a new process has none, and where they lay."""
    for name in ("owned", "helping", "deeper", "owned_data"):
        sys.modules.pop(name, None)
    sys.path_importer_cache.clear()
