"""A sweep in MLflow: one run for its life, above the runs of its trials.

While a launcher lives it holds the lock on ``mlruns/sweeps/<study>/<name>.launched``; the kernel lifts it however the
launcher ends, and whoever finds it so closes the run that the file beside it names.
"""

import logging
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial

from kdlab.interruption import held_back
from kdlab.stage_folder import Record, read_json, write_json
from kdlab.sweep.places import StudyPlace
from kdlab.sweep.study import EXECUTION, new_worker
from kdlab.tracking.executions import record_of
from kdlab.tracking.provenance import provenance
from kdlab.tracking.sender import cleaned, find_run, log_metrics, metrics_of
from kdlab.tracking.store import Store, address, failures

logger = logging.getLogger(__name__)


class SweepRun:
    """The parent of all trials of a study; a store that is away costs one warning and nothing else.

    Args:
        place: the study's.
        experiment: MLflow's experiment.
    """

    def __init__(self, place: StudyPlace, experiment: str) -> None:
        self.place, self.experiment = place, experiment
        self.id: str | None = None
        self._alive = FileLock(place.folder / f"{new_worker()}.launched", timeout=0)

    @held_back()
    def open(self) -> str | None:
        """Find the run, or make it; its id."""
        close_abandoned(self.place.mlruns)
        try:
            store = Store(self.place.mlruns)
            experiment = store.experiment(self.experiment)
            here = f"{store.home}/sweeps/{self.place.name} in {self.place.shown}"
            with self.place.lock("parent"):
                found = store.client.search_runs([experiment], f"tags.`kdlab.folder` = '{here}'", max_results=1)
                run = (
                    found[0]
                    if found
                    else store.client.create_run(
                        experiment,
                        run_name=f"{self.place.name} sweep",
                        tags=provenance() | {"kdlab.folder": here, "kind": "sweep", "sweep": self.place.name},
                    )
                )
            self.id = str(run.info.run_id)
            self._leave_word(store.key, "KILLED")
            self._alive.acquire(timeout=10)
            store.client.update_run(self.id, status="RUNNING")
        except failures() as error:
            logger.warning(
                "MLflow is not reachable, the sweep has no page there: %s", " ".join(str(error).split())[:160]
            )
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
        """Give the run its numbers, its page and its status, and tag the best trials."""
        if self.id is None:
            return
        try:
            self._leave_word(address(self.place.mlruns, None)[1], status)
            store, now = Store(self.place.mlruns), int(time.time() * 1000)
            log_metrics(store, self.id, metrics_of({cleaned(k): v for k, v in metrics.items()}, now, 0))
            if description:
                store.client.set_tag(self.id, "mlflow.note.content", description[:7900])
            for file in files:
                store.client.log_artifact(self.id, str(file))
            self._tag(store, best)
            store.client.set_terminated(self.id, status, end_time=now)
        except failures() as error:
            logger.warning(
                "MLflow is not reachable, the sweep is not closed there: %s", " ".join(str(error).split())[:160]
            )
        else:
            _forget(self._alive)
        finally:
            self._alive.release()

    def _leave_word(self, store: str, status: str) -> None:
        """Say which run is to be closed, and how, should this process not live to do it."""
        record = {"run": self.id, "store": store, "host": socket.gethostname(), "status": status}
        write_json(Path(self._alive.lock_file).with_suffix(".json"), record)

    def _tag(self, store: Store, best: Sequence[FrozenTrial]) -> None:
        """Tag the best trial's run; one that was best before is so no longer."""
        experiment = store.experiment(self.experiment)
        wanted = []
        for trial in best:
            record = read_json(record_of(self.place.mlruns, str(trial.user_attrs.get(EXECUTION)))) or {}
            wanted += [str(run) for run in [record.get("parents", {}).get(store.key)] if run is not None]
        here = f"tags.best = 'true' AND tags.sweep = '{self.place.name}'"
        for run in store.client.search_runs([experiment], here):
            if run.info.run_id not in wanted:
                store.client.delete_tag(run.info.run_id, "best")
        for run_id in wanted:
            store.client.set_tag(run_id, "best", "true")


@held_back()
def close_abandoned(mlruns: Path) -> None:
    """Close the runs of sweeps whose launchers of this machine are dead, unless another one works at them.

    Locks of another machine may be invisible here, so its launchers count as alive.
    """
    for folder in sorted((mlruns / "sweeps").glob("*")):
        held: list[FileLock] = []
        try:
            records = [_taken(mlruns, marker, held) for marker in sorted(folder.glob("*.launched"))]
            dead = [record for record in records if record is not None]
            if dead and len(dead) == len(records):
                _close(mlruns, dead)
                for lock in held:
                    _forget(lock)
        except failures() as error:
            logger.warning("MLflow is not reachable, a dead sweep stays open: %s", " ".join(str(error).split())[:160])
        finally:
            for lock in held:
                lock.release()


def _taken(mlruns: Path, marker: Path, held: list[FileLock]) -> Record | None:
    """What a dead launcher left word of, its lock now held here; None if it may live, or tells another store."""
    record = read_json(marker.with_suffix(".json"))
    here = {"host": socket.gethostname(), "store": address(mlruns, None)[1]}
    if record is None or not here.items() <= record.items():
        return None
    lock = FileLock(marker, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return None
    held.append(lock)
    return record


def _close(mlruns: Path, records: Sequence[Record]) -> None:
    store = Store(mlruns)
    for record in records:
        run = find_run(store, record["run"])
        if run is not None and run.info.status == "RUNNING":
            store.client.set_terminated(record["run"], record["status"])


def _forget(lock: FileLock) -> None:
    """Remove a launcher's marker and record; the lock is held."""
    marker = Path(lock.lock_file)
    marker.unlink(missing_ok=True)
    marker.with_suffix(".json").unlink(missing_ok=True)
