"""A study in PostgreSQL: the real server, started by the test."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from kdlab.sweep.storage import open_storage
from kdlab.sweep.study_place import place_of
from tests.sweep.sweeps import sweep_file
from tests.sweep.test_workers import ROOT, command, environment


def program(name: str) -> str | None:
    """A server's program; Debian keeps them off the path."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an empty database."""
    pytest.importorskip("psycopg", reason="pip install 'kdlab[postgres]'")
    initdb, control = program("initdb"), program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt install postgresql)")
    # The server refuses to run as root.
    user = "postgres" if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="kdlab-pg-"))
    if user is not None:
        shutil.chown(folder, user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, quiet = str(folder / "data"), subprocess.DEVNULL
    subprocess.run([initdb, "-D", data, "-A", "trust", "-U", "kdlab"], user=user, check=True, stdout=quiet, cwd=folder)
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    start = [control, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start"]
    subprocess.run(start, user=user, check=True, stdout=quiet, cwd=folder)
    yield f"postgresql+psycopg://kdlab:secret@127.0.0.1:{port}/postgres"
    subprocess.run([control, "-D", data, "-m", "immediate", "stop"], user=user, check=True, stdout=quiet, cwd=folder)
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_share_a_study_in_postgresql(tmp_path: Path, server: str) -> None:
    path = sweep_file(tmp_path)
    run = subprocess.run(
        command(path, 5, "--workers", "2"),
        cwd=ROOT, env={**environment(), "KDLAB_STORAGE": server}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "secret" not in run.stdout
    storage = open_storage(place_of("made_up", server, tmp_path / "mlruns"))
    study = optuna.load_study(study_name="made_up", storage=storage)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 5
    assert not (tmp_path / "mlruns" / "optuna.db").exists()
    storage.remove_session()
    storage.engine.dispose()
