"""MLflow's page: the link that compares an execution's runs, and the server that shows the page."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import FrameType
from urllib.parse import quote

from kdlab.errors import ConfigurationError
from kdlab.records.files import Record, read_json
from kdlab.tracking.addresses import linkable, shown
from kdlab.tracking.executions import settle
from kdlab.tracking.store import LOCAL, Store, address, artifacts, damage, failures, quiet

PATIENCE = 120.0
# Without the second setting the page may open in its view for prompts and agents.
CHARTS = "compareRunsMode=CHART&workflowType=machine_learning"


def comparison_link(base: str, execution: str, experiments: Sequence[str], metric: str = "test/accuracy") -> str:
    """Return the address of MLflow's page with the charts of all runs of one execution, reused ones included.

    Sorting by a metric makes the page list the runs one by one. Sorted by creation, they are folded under their parent
    and no chart shows.

    Args:
        base: Address of the server, such as ``http://127.0.0.1:5000``.
        execution: The execution's id.
        experiments: Ids of the experiments in which its runs are: a reused teacher may be in another one.
        metric: The metric to sort by, highest first.

    Raises:
        ValueError: If there is no experiment.
    """
    return _page(base, f"tags.executions LIKE '%{execution}%'", experiments, metric)


def trials_link(base: str, sweep: str, experiments: Sequence[str], objective: str) -> str:
    """Return the address of MLflow's page with the charts of a sweep's trials, the highest objective first.

    Args:
        base: Address of the server.
        sweep: The study's name.
        experiments: Ids of the experiments in which its runs are.
        objective: The metric of the trials to sort by, such as ``objective/accuracy``.

    Raises:
        ValueError: If there is no experiment.
    """
    return _page(base, f"tags.sweep = '{sweep}' AND tags.kind = 'trial'", experiments, objective)


def _page(base: str, wanted: str, experiments: Sequence[str], metric: str) -> str:
    if not experiments:
        raise ValueError("no experiment to compare runs of")
    ids = ",".join(f'"{identity}"' for identity in experiments)
    several = f"compare-experiments/s?experiments={quote(f'[{ids}]')}&"
    page = several if len(experiments) > 1 else f"experiments/{experiments[0]}/runs?"
    search = quote(wanted, safe="")
    order = quote(f"metrics.`{metric}`", safe="")
    return f"{base.rstrip('/')}/#/{page}searchFilter={search}&orderByKey={order}&orderByAsc=false&{CHARTS}"


def runs_of(mlruns: Path, record: Record, key: str) -> tuple[list[str], list[str]]:
    """Return the ids of the experiments and of the runs of an execution's stages, as remembered on disk for a store."""
    memories = [read_json(mlruns / "stages" / name / "tracking.json") or {} for name in record["folders"]]
    states = [memory[key] for memory in memories if key in memory]
    return sorted({str(state["experiment_id"]) for state in states}), [str(state["run_id"]) for state in states]


def newest_link(mlruns: Path, base: str, key: str = LOCAL) -> str | None:
    """Return the link to the newest execution that the store knows, or None if it knows none.

    For a trial it is the link to all trials of its sweep, because a trial has no test of its own to be compared by.
    """
    records = [read_json(path) for path in (mlruns / "tracking").glob("*.json")]
    whole = ("execution", "started", "folders", "tags", "metrics")
    begun = [record for record in records if record is not None and all(name in record for name in whole)]
    for record in sorted(begun, key=lambda record: int(record["started"]), reverse=True):
        experiments, _ = runs_of(mlruns, record, key)
        if not experiments:
            continue
        sweep = record["tags"].get("sweep")
        if sweep is None:
            return comparison_link(base, str(record["execution"]), experiments)
        trials = [other for other in begun if other["tags"].get("sweep") == sweep]
        objectives = [name for trial in trials for name in trial["metrics"] if name.startswith("objective/")]
        return trials_link(base, str(sweep), experiments, objectives[0] if objectives else "test/accuracy")
    return None


def ui(mlruns: Path, port: int = 5000, host: str = "127.0.0.1", before: Callable[[], None] = lambda: None) -> None:
    """Serve MLflow's page over the database in ``mlruns`` until Ctrl-C, and print the link to the newest comparison.

    If ``MLFLOW_TRACKING_URI`` is a server, nothing is served and only the link is printed.

    Args:
        mlruns: Folder of the database.
        port: Port to listen on, in 1..65535.
        host: Address to listen on; the default is reachable from this machine alone.
        before: Called before the page is served, to bring anything else up to date.

    Raises:
        ConfigurationError: If the port is taken, or the database cannot be opened.
        OSError: If the server does not start.
    """
    uri, key = address(mlruns, None)
    if not uri.startswith("http"):
        _check_free(host, port)
    store = caught_up(mlruns)
    before()
    if store is None or uri.startswith("http"):
        print(f"MLflow is at {newest_link(mlruns, linkable(uri), key) or linkable(uri)}", flush=True)
        return
    command, environment = _command(mlruns, host, port), os.environ | _SERVING
    environment["MLFLOW_BACKEND_STORE_URI"] = store.uri  # it may hold a password, which no command line must show
    stopped = signal.signal(signal.SIGTERM, _stop)
    with (mlruns / "tracking" / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=mlruns, stdout=log, stderr=subprocess.STDOUT)
    base = f"http://{host}:{port}"
    try:
        _wait_for(server, host, port)
        print(f"MLflow is at {newest_link(mlruns, base, key) or base}\nCtrl-C stops it.", flush=True)
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        server.terminate()
        server.wait()
        signal.signal(signal.SIGTERM, stopped)


# Without its job runners, which nothing here uses, the server takes a fifth of the memory and a third of the time.
_SERVING = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}


def _stop(number: int, frame: FrameType | None) -> None:
    """Stop as after Ctrl-C, so that the server does not outlive this process."""
    raise KeyboardInterrupt


def caught_up(mlruns: Path) -> Store | None:
    """Open the store and send what earlier commands could not, however long that takes; None if a server is away.

    Raises:
        ConfigurationError: If a database cannot be opened; the message says what to do.
    """
    uri, key = address(mlruns, None)
    quiet()
    damaged = damage(mlruns) if key == LOCAL else None
    if damaged is not None:
        raise ConfigurationError(damaged)
    try:
        store = Store(mlruns)  # makes the database, or mends it after a move
        settle(store)
    except failures() as error:
        reason = " ".join(shown(str(error), uri).split())[:160]
        if uri.startswith("http"):
            print(f"MLflow is not reachable: {reason}", flush=True)
            return None
        raise ConfigurationError(f"MLflow's database {shown(uri)} cannot be opened: {reason}") from error
    return store


def _command(mlruns: Path, host: str, port: int) -> list[str]:
    root = artifacts(mlruns)
    command = [sys.executable, "-m", "mlflow", "server", "--default-artifact-root", root]
    return [*command, "--workers", "1", "--host", host, "--port", str(port), "--uvicorn-opts", "--log-level warning"]


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # A port that a server has just released may be used again at once.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = f"cannot listen on {host}:{port} ({error.strerror}); choose another port, such as {port + 1}"
            raise ConfigurationError(reason) from error


def _wait_for(server: subprocess.Popen[bytes], host: str, port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        connection = HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/health")
            connection.getresponse().read()
        except (OSError, HTTPException):
            time.sleep(0.2)
        else:
            return
        finally:
            connection.close()
    raise OSError(f"MLflow's server did not start at {host}:{port}; see tracking/server.log in mlruns")
