"""A group of processes ends with the one that started it, and holds the folder's lock until then."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from kdlab.stages.stage_process import lifeline
from tests.experiments import content, written

ROOT = Path(__file__).parents[2]
EPOCHS, BATCHES = 300, 5


def start(path: Path, mlruns: Path) -> "subprocess.Popen[bytes]":
    """The command as a user types it."""
    command = [sys.executable, "-m", "kdlab", "run", str(path), "--devices", "2", "--accelerator", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([*command, "--mlruns", str(mlruns)], env=environment, stdout=subprocess.DEVNULL)


def parents() -> dict[int, int]:
    """The parent of every process that lives."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):  # it has ended since
                continue
            if state != "Z":
                found[int(entry.name)] = int(parent)
    return found


def ranks(process: "subprocess.Popen[bytes]") -> list[int]:
    """The process of rank 0, then that of rank 1."""
    above = parents()
    first = [child for child, parent in above.items() if parent == process.pid and is_rank(child)]
    return first + [child for child, parent in above.items() if parent in first and is_rank(child)]


def is_rank(process: int) -> bool:
    try:
        return b"kdlab.stages.stage_process" in Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")
def test_ranks_die_with_their_parent_and_keep_the_lock_until_then(tmp_path: Path) -> None:
    stage = {"module": content()["stages"]["baseline"]["module"], "trainer": {"max_epochs": EPOCHS}}
    path, mlruns = written(tmp_path, seeds=[0], stages={"baseline": stage}), tmp_path / "mlruns"
    process = start(path, mlruns)
    wait_for(lambda: list(mlruns.glob("stages/*/resume.ckpt")), "a checkpoint")
    (folder,) = (mlruns / "stages").iterdir()
    both = ranks(process)
    assert len(both) == 2
    os.kill(both[0], signal.SIGSTOP)  # it can neither train nor end
    process.kill()
    process.wait()
    with pytest.raises(Timeout):
        FileLock(folder / "lock", timeout=1.0).acquire()
    os.kill(both[0], signal.SIGCONT)
    wait_for(lambda: not set(both) & parents().keys(), "the end of both ranks", 30)
    with FileLock(folder / "lock", timeout=30):  # a process counts as ended before its last thread is
        assert not (folder / "done.json").exists(), "it had ended before it was killed"
    again = start(path, mlruns)
    assert again.wait() == 0
    assert json.loads((folder / "done.json").read_text())["steps"] == EPOCHS * BATCHES
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert max(Counter((line["step"], name) for line in lines for name in line["metrics"]).values()) == 1


def test_a_lifeline_ends_when_its_block_does() -> None:
    code = "import time; from kdlab.stages.stage_process import end_with_parent; end_with_parent(); time.sleep(60)"
    with lifeline() as line:
        process = subprocess.Popen([sys.executable, "-c", code], stdin=line, cwd=ROOT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
    assert process.wait(30) == 129
