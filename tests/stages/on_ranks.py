"""Trains a stage on two gloo processes and keeps its folder at every checkpoint: one of them, as Lightning starts it.

python -m tests.stages.on_ranks EXPERIMENT MLRUNS KEPT SECONDS: the least time between two checkpoints.
"""

import random
import shutil
import sys
from pathlib import Path

import torch

import kdlab.stages.training
from kdlab.configuration.experiment import read
from kdlab.stages.context import Context
from kdlab.stages.options import Options


def main(experiment: Path, mlruns: Path, kept: Path, seconds: float) -> None:
    kdlab.stages.training.CHECKPOINT_SECONDS = seconds
    torch.manual_seed(random.randrange(10**6))
    context = Context(read(experiment), Options(mlruns=mlruns, accelerator="cpu", devices=2))
    seeded = context.seeded_stage(context.graph.node("alone", 0))
    seeded.folder.path.mkdir(parents=True, exist_ok=True)

    def keep() -> None:  # called on rank 0 alone
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copytree(seeded.folder.path, kept / f"{len(list(kept.iterdir())):03}")

    kdlab.stages.training.train(seeded, keep, [])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
