"""A password in the tracking server's address is nowhere in mlruns, on the terminal, or in a link."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stage_folders import begin_stage, complete_stage, write_execution
from tests.tracking.broken_servers import BROKEN, answering, plausible
from tests.tracking.reading import tracked

SECRET = "s3cr3t"


def with_password(address: str) -> str:
    return address.replace("://", f"://me:{SECRET}@").replace("me@", "")


@pytest.mark.parametrize("kind", ["answering", "dead", "asking for a password", "malformed", "missing driver"])
@pytest.mark.filterwarnings("ignore:.*unclosed <socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_no_file_and_no_line_has_the_password(kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    folder = begin_stage(tmp_path)
    complete_stage(folder)
    write_execution(tmp_path, [folder])
    with BROKEN[kind]() if kind in BROKEN else answering(plausible) as address:
        tracker = tracked(tmp_path, uri=with_password(address))
        tracker.finish(folder)
        told = tracker.end()
        if not told and tracker._courier._thread is not None:
            tracker._courier._thread.join(60)
    assert told == (kind == "answering")
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(b"uri" in content for content in written.values())
    assert [path for path, content in written.items() if SECRET.encode() in content] == []
    assert SECRET not in caplog.text
    assert SECRET not in str(tracker.link())
    assert (tracker.link() is not None) == told


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["black hole", "malformed", "missing driver", "answering a page", "dead database"])
def test_the_command_ends_well_and_says_one_line_without_the_password(kind: str, tmp_path: Path) -> None:
    with BROKEN[kind]() as address:
        command = [sys.executable, "-m", "kdlab", "run", "experiments/digits.yaml", "--quick", "--accelerator", "cpu"]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": with_password(address), "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(
            [*command, "--mlruns", str(tmp_path / "mlruns")],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
    assert ran.returncode == 0, ran.stderr
    said = [line for line in ran.stderr.splitlines() if "MLflow" in line]
    assert len(said) == 1
    assert SECRET not in ran.stdout + ran.stderr
    files = [path for path in (tmp_path / "mlruns").rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
