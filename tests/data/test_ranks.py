"""The loaders in two real processes, against one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fit(folder: Path, devices: int, *how: str) -> list[dict[str, list[list[int]]]]:
    command = [sys.executable, "tests/data/fit_on_ranks.py", str(folder), str(devices), *how]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return [json.loads((folder / f"seen-{devices}-{rank}.json").read_text()) for rank in range(devices)]


@pytest.mark.slow
def test_two_processes_see_what_one_sees_and_resume_in_mid_epoch(tmp_path: Path) -> None:
    (alone,) = fit(tmp_path, 1)
    first, second = fit(tmp_path, 2)
    together = [one + other for one, other in zip(first["trained"], second["trained"], strict=True)]
    assert together == alone["trained"]
    validated = [index for rank in (first, second) for batch in rank["validated"] for index in batch]
    assert sorted(validated) == sorted(index for batch in alone["validated"] for index in batch)
    assert len(first["validated"]) == len(second["validated"])
    fit(tmp_path, 2, "3")
    resumed = fit(tmp_path, 2, str(tmp_path / "cut.ckpt"))
    rest = [one + other for one, other in zip(resumed[0]["trained"], resumed[1]["trained"], strict=True)]
    assert rest == alone["trained"][3:]
