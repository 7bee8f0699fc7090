"""Two processes, each with random numbers of its own, go on from every checkpoint as if nothing had been."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdlab.records.stage_folder import StageFolder
from tests.experiments import stage, written
from tests.stages.resumes import difference, outcome, place, same
from tests.stages.test_every_checkpoint import DROPOUT, EPOCHS

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def trained(path: Path, mlruns: Path, kept: Path, seconds: float = 0.0) -> list[Path]:
    command = [sys.executable, "-m", "tests.stages.on_ranks", str(path), str(mlruns), str(kept), str(seconds)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, stdin=subprocess.DEVNULL)
    return sorted(kept.iterdir()) if kept.exists() else []


def test_two_processes_go_on_from_every_checkpoint(tmp_path: Path) -> None:
    uneven = [{"class_path": "tests.stages.parts.Uneven"}]
    stages = {"alone": {"module": stage("Supervised", DROPOUT), "callbacks": uneven}}
    path = written(tmp_path, seeds=[0], trainer={"max_epochs": 3}, stages=stages)
    assert trained(path, tmp_path / "whole", tmp_path / "none", 1e9) == []
    (folder,) = (StageFolder(found) for found in (tmp_path / "whole" / "stages").iterdir())
    whole = outcome(folder)
    copies = trained(path, tmp_path / "mlruns", tmp_path / "first")
    assert [place(copy) for copy in copies] == EPOCHS
    (folder,) = (StageFolder(found) for found in (tmp_path / "mlruns" / "stages").iterdir())
    assert same(outcome(folder), whole), difference(outcome(folder), whole)
    random = torch.load(copies[0] / "resume.ckpt", weights_only=True)["kdlab_moment"]["random"]
    assert len(random) == 2
    assert not torch.equal(random[0]["torch"], random[1]["torch"]), "each process draws for itself"
    for number, copy in enumerate(copies):
        shutil.rmtree(folder.path)
        shutil.copytree(copy, folder.path)
        later = trained(path, tmp_path / "mlruns", tmp_path / f"from-{number}")
        assert same(outcome(folder), whole), (place(copy), difference(outcome(folder), whole))
        assert [place(one) for one in later] == EPOCHS[number + 1 :]
