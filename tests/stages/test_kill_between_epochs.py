"""The plain command, killed right after a checkpoint before an epoch: the epoch is trained and validated."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdlab.records.stage_folder import StageFolder
from tests.experiments import stage, written
from tests.stages.resumes import difference, outcome, place, same
from tests.stages.test_every_checkpoint import DROPOUT

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def start(path: Path, mlruns: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "kdlab", "run", str(path), "--accelerator", "cpu", "--mlruns", str(mlruns)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def test_a_kill_before_an_epoch_costs_nothing_of_it(tmp_path: Path) -> None:
    # A validation that takes longer than the least time between checkpoints has them all made before epochs.
    slow = [{"class_path": "tests.stages.parts.Slow", "init_args": {"seconds": 2.2}}]
    stages = {"alone": {"module": stage("Supervised", DROPOUT), "callbacks": slow}}
    path = written(tmp_path, seeds=[0], trainer={"max_epochs": 4}, stages=stages)
    assert start(path, tmp_path / "whole").wait() == 0
    (whole,) = (StageFolder(found) for found in (tmp_path / "whole" / "stages").iterdir())
    process, deadline = start(path, tmp_path / "killed"), time.monotonic() + 300
    while not (found := list((tmp_path / "killed").glob("stages/*/resume.ckpt"))):
        assert time.monotonic() < deadline, "no checkpoint was made"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = StageFolder(found[0].parent)
    assert folder.done is None
    assert place(folder.path)[1] == 0, "the checkpoint stands within an epoch"
    assert start(path, tmp_path / "killed").wait() == 0
    assert outcome(folder)["done"]["steps"] == 20
    assert same(outcome(folder), outcome(whole)), difference(outcome(folder), outcome(whole))
