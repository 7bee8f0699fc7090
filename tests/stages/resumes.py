"""Trains a stage while every possible checkpoint is kept, and goes on from each as a new process would."""

import json
import random
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kdlab.stages.training
from kdlab.configuration.experiment import read
from kdlab.records.stage_folder import StageFolder
from kdlab.records.weights import load_weights
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.stages.seeded_stage import SeededStage
from kdlab.stages.training import train
from tests.experiments import written

#: What two runs measure differently, and what follows from it.
MEASURED = (
    "seconds",
    "trained_seconds",
    "evaluation_seconds",
    "time_elapsed",
    "memory_bytes",
    "files",
    "journal_bytes",
)


@dataclass(frozen=True)
class Bench:
    """A stage of an experiment, its teachers trained."""

    experiment: Path
    mlruns: Path
    stage: str

    @property
    def folder(self) -> StageFolder:
        return self.seeded_stage().folder

    def seeded_stage(self) -> SeededStage:
        """Everything built anew, as in a process that has just begun, in whatever random state that is in."""
        torch.manual_seed(random.randrange(10**6))
        np.random.seed(random.randrange(10**6))
        context = Context(read(self.experiment), Options(mlruns=self.mlruns, accelerator="cpu"))
        node = context.graph.node(self.stage, 0)
        for before in node.needed:
            needed = context.seeded_stage(before)
            if needed.folder.done is None:
                trained(needed)
        return context.seeded_stage(node)

    def keeping(self, kept: Path) -> list[Path]:
        """Train, or go on, and keep a copy of the folder at every checkpoint."""
        seeded, copies = self.seeded_stage(), list[Path]()

        def keep() -> None:
            # In the order of time: a resume counts on from the one that it began with.
            copies.append(shutil.copytree(seeded.folder.path, kept / f"{len(copies):03}"))

        trained(seeded, keep)
        return copies

    def put_back(self, copy: Path) -> None:
        """Leave the folder as a kill right after a checkpoint does."""
        shutil.rmtree(self.folder.path)
        shutil.copytree(copy, self.folder.path)


def trained(seeded: SeededStage, on_commit: Any = lambda: None) -> None:
    seeded.folder.path.mkdir(parents=True, exist_ok=True)
    train(seeded, on_commit, [])


def bench(folder: Path, monkeypatch: pytest.MonkeyPatch, stages: dict[str, Any], **changes: Any) -> Bench:
    """The last of these stages, three epochs of five batches each unless something else is said."""
    changes = {"seeds": [0], "trainer": {"max_epochs": 3}, **changes}
    monkeypatch.setattr(kdlab.stages.training, "CHECKPOINT_SECONDS", 0.0)
    return Bench(written(folder, stages=stages, **changes), folder / "mlruns", list(stages)[-1])


def outcome(folder: StageFolder) -> dict[str, Any]:
    """All that a stage leaves, but for what is measured."""
    done = folder.done
    assert done is not None
    lines = [json.loads(line) for line in folder.journal.read_text().splitlines()]
    return {
        "done": {name: value for name, value in asdict(done).items() if name not in MEASURED},
        "journal": [{name: value for name, value in line.items() if name != "time"} for line in lines],
        "weights": load_weights(folder.weights),
    }


def check_every_checkpoint(bench: Bench, monkeypatch: pytest.MonkeyPatch, kept: Path) -> list[Path]:
    """Compare an undisturbed stage with ones that go on from each of its checkpoints.

    A resumed stage makes the later checkpoints again, and each must be the one of the undisturbed stage. So whatever
    holds after one kill holds after any number of them.
    """
    with monkeypatch.context() as patch:
        patch.setattr(kdlab.stages.training, "CHECKPOINT_SECONDS", 1e9)
        bench.keeping(kept / "undisturbed")
    whole = outcome(bench.folder)
    shutil.rmtree(bench.folder.path)
    copies = bench.keeping(kept / "first")
    assert same(outcome(bench.folder), whole), "to make checkpoints changes the training"
    checkpoints = [torch.load(copy / "resume.ckpt", weights_only=True) for copy in copies]
    for number, copy in enumerate(copies):
        bench.put_back(copy)
        later = bench.keeping(kept / f"from-{number:03}")
        found = outcome(bench.folder)
        for name, value in whole.items():
            assert same(found[name], value), f"{name} differs when going on from {place(copy)}: {found[name]}, {value}"
        assert len(later) == len(copies) - number - 1, f"other checkpoints come after {place(copy)}"
        again = [torch.load(path / "resume.ckpt", weights_only=True) for path in later]
        for before, after in zip(checkpoints[number + 1 :], again, strict=True):
            assert same(before, after), f"a later checkpoint differs after {place(copy)}: {difference(before, after)}"
    return copies


def place(copy: Path) -> tuple[int, int]:
    """The epoch of a checkpoint and the batches of it that are done."""
    loops = torch.load(copy / "resume.ckpt", weights_only=True)["loops"]["fit_loop"]
    return loops["epoch_progress"]["current"]["completed"], loops["epoch_loop.batch_progress"]["current"]["completed"]


def same(one: Any, other: Any) -> bool:
    """Whether nested values are equal bit for bit, NaN included, but for what is measured."""
    if isinstance(one, torch.Tensor):
        alike = isinstance(other, torch.Tensor) and (one.dtype, one.shape) == (other.dtype, other.shape)
        return alike and one.numpy().tobytes() == other.numpy().tobytes()
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return False
        return all(same(one[name], other[name]) for name in one if name not in MEASURED)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other or (one != one and other != other))


def difference(one: Any, other: Any, where: str = "") -> list[str]:
    """Where nested values differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for name in one for line in difference(one[name], other[name], f"{where}/{name}")]
    return [] if where.endswith(MEASURED) or same(one, other) else [f"{where}: {one} | {other}"]
