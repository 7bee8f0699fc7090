"""A sweep in MLflow: one run for the whole sweep, above the runs of its trials.

``mlruns/sweeps/<study>/mlflow.json`` is the record of that run. While a launcher lives it holds the lock on
``<name>.launched`` beside it, and the kernel lifts the lock however the launcher ends. A later command that finds the
lock free sends what the record has and closes the run. Sending twice changes nothing, because all values and their
times are in the record before they are sent.
"""

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from optuna.trial import FrozenTrial

from kdlab.interruption import held_back
from kdlab.records.executions import Status
from kdlab.records.files import Record, read_json, write_json
from kdlab.records.lease import Lease
from kdlab.sweep.study import EXECUTION, new_worker
from kdlab.sweep.study_place import StudyPlace
from kdlab.tracking.addresses import shown
from kdlab.tracking.courier import LOCAL_SILENCE, PATIENCE, is_file, within
from kdlab.tracking.provenance import provenance
from kdlab.tracking.records import record_of
from kdlab.tracking.sender import cleaned, find_run, log_metrics, metrics_of
from kdlab.tracking.store import Store, address, failures, quiet

logger = logging.getLogger(__name__)

# Keys of a record; a file that lacks one of them is no record of a sweep.
KEPT = ("store", "experiment", "folder", "name", "sweep", "tags", "started", "status", "finished", "metrics")
FURTHER = ("description", "files", "best", "said")


class SweepRun:
    """The run in MLflow that is the parent of all trials of a study.

    A store that cannot be reached or does not answer costs one warning and nothing else. A server gets ``PATIENCE``
    seconds at the beginning and at the end; the next command sends what it did not take, and closes the run.

    Args:
        place: the study's place.
        experiment: the name of the experiment in MLflow.
    """

    def __init__(self, place: StudyPlace, experiment: str) -> None:
        self.place, self.experiment = place, experiment
        self.id: str | None = None
        self._alive = Lease(place.folder / f"{new_worker()}.launched")

    @held_back()
    def open(self) -> str | None:
        """Find or make the run and return its id, or None if the store cannot be reached."""
        close_abandoned(self.place.mlruns)
        bounded(self.place.mlruns, self._open, "the sweep has no page there until its end")
        return self.id

    @held_back()
    def close(
        self,
        status: str,
        metrics: Mapping[str, float],
        description: str = "",
        files: Sequence[Path] = (),
        best: Sequence[FrozenTrial] = (),
    ) -> None:
        """Give the run its numbers, its page and its status, and tag the best trials.

        Nothing happens if the study has no record of a run.

        Args:
            status: how the sweep ended, in MLflow's words.
            metrics: numbers of the whole sweep.
            description: the text of the run's page, in Markdown.
            files: files that are attached to the run.
            best: the trials whose runs are tagged as the best.
        """
        record = read_json(record_of_sweep(self.place.folder))
        if record is None:
            return
        now = int(time.time() * 1000)
        # An unchanged value keeps the time at which it was first sent: MLflow stores the same value and time only once.
        unchanged = {name: at for name, (value, at) in record["said"].items() if metrics.get(name) == value}
        record |= {
            "status": status,
            "finished": now,
            "metrics": dict(metrics),
            "said": {name: [value, unchanged.get(name, now)] for name, value in metrics.items()},
            "description": description,
            "files": [str(file.resolve()) for file in files],
            "best": [str(trial.user_attrs.get(EXECUTION)) for trial in best],
        }
        write_json(record_of_sweep(self.place.folder), record)
        try:
            if bounded(self.place.mlruns, partial(self._close, record), "the next command closes the sweep there"):
                _forget(self._alive)
        finally:
            self._alive.leave()

    def _open(self) -> None:
        mlruns, folder = self.place.mlruns, self.place.folder
        self.place.folder.mkdir(parents=True, exist_ok=True)
        self._alive.hold(10)
        # The host is noted before there is a run, so that no run stays open if this process is killed in between.
        write_json(self._alive.path.with_suffix(".json"), {"host": socket.gethostname()})
        before = read_json(record_of_sweep(folder)) or {}
        key = address(mlruns, None)[1]
        with self.place.lock("parent"):
            record: Record = {
                "store": key,
                "experiment": self.experiment,
                "folder": f"sweeps/{self.place.name} in {self.place.shown}",
                "name": f"{self.place.name} sweep",
                "sweep": self.place.name,
                "tags": provenance(),
                "started": before.get("started", int(time.time() * 1000)),
                "status": Status.KILLED,  # it stays so if this launcher is killed
                "finished": None,
                "metrics": {},
                "description": "",
                "files": [],
                "best": [],
                "said": before.get("said", {}),
            }
            write_json(record_of_sweep(folder), record)
            store = Store(mlruns)
            run = found_or_made(store, record)
        store.client.update_run(run, status=Status.RUNNING)
        self.id = run

    def _close(self, record: Record) -> None:
        tell(Store(self.place.mlruns), self.place.folder, record)


def record_of_sweep(folder: Path) -> Path:
    """Return the path of the record of a study's run, in the study's folder."""
    return folder / "mlflow.json"


def bounded(mlruns: Path, call: Callable[[], None], then: str) -> bool:
    """Make a call to the store, and return whether it succeeded in time.

    A server gets ``PATIENCE`` seconds, a database that is a file gets ``LOCAL_SILENCE`` seconds.

    Args:
        mlruns: the folder that the store belongs to.
        call: makes the call.
        then: what the warning says of the consequence if the call fails.
    """
    quiet()  # loads MLflow, for which the server must not be blamed
    uri, _ = address(mlruns, None)
    try:
        within(LOCAL_SILENCE if is_file(uri) else PATIENCE, call)
    except failures() as error:
        reason = " ".join(shown(str(error), uri).split())[:160]
        logger.warning("MLflow is not reachable, %s: %s", then, reason)
        return False
    return True


def found_or_made(store: Store, record: Record) -> str:
    """Return the id of the run that belongs to a record; the run is made if the store has none."""
    experiment = store.experiment(record["experiment"])
    here = f"{store.home}/{record['folder']}"
    runs = store.client.search_runs([experiment], f"tags.`kdlab.folder` = '{here}'", max_results=1)
    if runs:
        return str(runs[0].info.run_id)
    tags = record["tags"] | {"kdlab.folder": here, "kind": "sweep", "sweep": record["sweep"]}
    made = store.client.create_run(experiment, start_time=record["started"], run_name=record["name"], tags=tags)
    return str(made.info.run_id)


def tell(store: Store, folder: Path, record: Record) -> str:
    """Send everything that a record has to the run of its sweep, with the final status, and return the run's id."""
    if record["finished"] is None:
        record["finished"] = int(time.time() * 1000)
        write_json(record_of_sweep(folder), record)
    run, ended = found_or_made(store, record), record["finished"]
    for name, value in record["metrics"].items():
        log_metrics(store, run, metrics_of({cleaned(name): value}, record["said"].get(name, (value, ended))[1], 0))
    if record["description"]:
        # MLflow takes at most 8000 characters in a tag.
        store.client.set_tag(run, "mlflow.note.content", record["description"][:7900])
    # A launcher that was killed may have left a part of a file that it was sending.
    store.discard_uploads(run)
    for file in map(Path, record["files"]):
        if file.exists():
            store.client.log_artifact(run, str(file))
    _tag(store, record)
    store.client.set_terminated(run, record["status"], end_time=ended)
    return run


def _tag(store: Store, record: Record) -> None:
    """Tag the runs of the best trials, and take the tag from those that were the best before."""
    experiment = store.experiment(record["experiment"])
    trials = [read_json(record_of(store.mlruns, execution)) or {} for execution in record["best"]]
    best_runs = [str(trial["parents"][store.key]) for trial in trials if store.key in trial.get("parents", {})]
    for run in store.client.search_runs([experiment], f"tags.best = 'true' AND tags.sweep = '{record['sweep']}'"):
        if run.info.run_id not in best_runs:
            store.client.delete_tag(run.info.run_id, "best")
    for run_id in best_runs:
        if find_run(store, run_id) is not None:
            store.client.set_tag(run_id, "best", "true")


@held_back()
def close_abandoned(mlruns: Path) -> None:
    """Close the runs of sweeps whose launchers have all run on this machine and are dead.

    Locks of another machine may be invisible here, so its launchers count as alive.
    """
    for folder in sorted((mlruns / "sweeps").glob("*")):
        record = _read(folder)
        if record is None or record["store"] != address(mlruns, None)[1]:
            continue
        leases = [Lease(marker) for marker in sorted(folder.glob("*.launched"))]
        try:
            dead = bool(leases) and all(_taken(lease) for lease in leases)
            if dead and bounded(mlruns, partial(_close, mlruns, folder, record), "a dead sweep stays open"):
                for lease in leases:
                    _forget(lease)
        finally:
            for lease in leases:
                lease.leave()


def _close(mlruns: Path, folder: Path, record: Record) -> None:
    tell(Store(mlruns), folder, record)


def _read(folder: Path) -> Record | None:
    record = read_json(record_of_sweep(folder))
    return record if record is not None and all(name in record for name in KEPT + FURTHER) else None


def _taken(lease: Lease) -> bool:
    """Return whether the launcher is dead; if it is, its lock is held here now.

    A launcher of another machine counts as alive.
    """
    word = read_json(lease.path.with_suffix(".json")) or {}
    return word.get("host") == socket.gethostname() and lease.take()


def rebuilt(store: Store) -> dict[str, str]:
    """Make the runs of all sweeps anew in a store that has none, and return their new ids by the study's name."""
    made = {}
    for folder in sorted((store.mlruns / "sweeps").glob("*")):
        record = _read(folder)
        if record is not None and record["store"] == store.key:
            made[str(record["sweep"])] = tell(store, folder, record)
    return made


def _forget(lease: Lease) -> None:
    """Remove a launcher's lock file and the note of its host, and give the lease back."""
    lease.end()
    lease.path.with_suffix(".json").unlink(missing_ok=True)
