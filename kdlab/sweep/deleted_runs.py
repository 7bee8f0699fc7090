"""Runs that somebody deleted in MLflow's interface; their artifacts stay until the runs are deleted for good."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kdlab.errors import ConfigurationError
from kdlab.records.cleaning import size_of
from kdlab.tracking.store import Store, database

#: The most ids on one command line, and the most runs in one answer of MLflow.
AT_ONCE = 1000


@dataclass(frozen=True)
class DeletedRun:
    """A run that MLflow no longer shows.

    Args:
        id: the run's id in MLflow.
        why: what it is, in a few words.
        path: the folder of its artifacts.
        size: the bytes of its artifacts.
    """

    id: str
    why: str
    path: Path
    size: int


def deleted_runs(mlruns: Path) -> list[DeletedRun]:
    """Return the deleted runs of the database inside ``mlruns``; there are none if there is no such database.

    Other stores, such as a server, are not looked at, because they are not kdlab's to clean.
    """
    if not (mlruns / "mlflow.db").exists():
        return []
    store = Store(mlruns, database(mlruns))
    from mlflow.entities import ViewType

    deleted: list[DeletedRun] = []
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments(view_type=ViewType.ALL)]
    token: str | None = ""
    while token is not None:
        page = store.client.search_runs(
            experiments, run_view_type=ViewType.DELETED_ONLY, max_results=AT_ONCE, page_token=token or None
        )
        for run in page:
            path = local_path(str(run.info.artifact_uri))
            deleted.append(DeletedRun(run.info.run_id, f"deleted in MLflow: {run.info.run_name}", path, size_of(path)))
        token = page.token or None
    return deleted


def local_path(address: str) -> Path:
    """Return the path of an artifact address, which MLflow stores as a plain path or as a ``file:`` address."""
    return Path(unquote(urlsplit(address).path)) if address.startswith("file:") else Path(address)


def purge(mlruns: Path, runs: Sequence[DeletedRun]) -> int:
    """Delete runs for good with MLflow's own command, and return how many bytes of artifacts became free.

    Experiments that were deleted in MLflow are deleted for good as well, because the command has no way to leave them.

    Raises:
        ConfigurationError: If MLflow's command fails.
    """
    uri = database(mlruns)
    for start in range(0, len(runs), AT_ONCE):
        ids = ",".join(run.id for run in runs[start : start + AT_ONCE])
        command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri, "--tracking-uri", uri]
        done = subprocess.run(
            [*command, "--run-ids", ids],
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise ConfigurationError(f"MLflow did not delete its runs: {lines[-1] if lines else done.returncode}")
    return sum(run.size - size_of(run.path) for run in runs)
