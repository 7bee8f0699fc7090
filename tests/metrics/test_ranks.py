"""Every metric in two real processes, against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.metrics import cases

ROOT = Path(__file__).parents[2]


def values(folder: Path, processes: int) -> list[dict[str, list[float]]]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "tests/metrics/score_on_ranks.py", str(folder), str(processes)]
    running = [
        subprocess.Popen([*command, str(rank)], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(processes)
    ]
    errors = [process.communicate(timeout=240)[1] for process in running]
    assert all(process.returncode == 0 for process in running), [text[-1000:] for text in errors]
    return [json.loads((folder / f"values-{processes}-{rank}.json").read_text()) for rank in range(processes)]


@pytest.mark.slow
def test_two_processes_have_the_value_of_one(tmp_path: Path) -> None:
    (alone,) = values(tmp_path, 1)
    for together in values(tmp_path, 2):
        for name in cases.METRICS:
            assert together[name] == pytest.approx(alone[name], rel=1e-5, nan_ok=True), name
