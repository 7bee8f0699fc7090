"""MLflow as a view of the stage folders, brought up to date while they grow."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from kdlab.interruption import held_back
from kdlab.stage_folder import Record, write_json
from kdlab.tracking.executions import ExecutionRun, marker_of, new_record, record_of, settle
from kdlab.tracking.provenance import provenance
from kdlab.tracking.server import comparison_link, runs_of
from kdlab.tracking.store import LOCAL, Store, address, failures

logger = logging.getLogger(__name__)

# After a failure tracking rests this many times as long as it took: a dead server costs at most 5 %.
REST, SHORTEST_REST = 20.0, 5.0


class Tracker:
    """Shows an experiment's stage folders in MLflow; never in the way of training.

    A store that is away, full or locked costs one warning and nothing else: the folders keep everything, and ``end``,
    or the next start with the same store, sends what is missing with the times at which it was measured.

    Args:
        mlruns: Folder of the stages, of the database and of the artifacts.
        experiment: Name of the experiment in MLflow.
        uri: Any MLflow tracking URI; None is ``MLFLOW_TRACKING_URI``, or else the database inside ``mlruns``.
    """

    def __init__(self, mlruns: Path, experiment: str, uri: str | None = None) -> None:
        self.mlruns = mlruns.resolve()
        self.experiment = experiment
        self.uri, self.key = address(self.mlruns, uri)
        self._record: Record | None = None
        self._run: ExecutionRun | None = None
        self._alive: FileLock | None = None
        self._rests_until = 0.0
        self._warned = False

    def begin(
        self,
        execution: str,
        config: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> str | None:
        """Open the execution's parent run, and close what killed processes left open.

        Args:
            execution: Id of the execution, unique in ``mlruns``.
            config: Resolved configuration, kept as the parent's ``config.yaml``.
            tags: Tags of the parent and of runs made for it; None are those of ``provenance()``.
            name: Of the parent run; None is made of the experiment and the execution.

        Returns:
            The parent's run id, None if the store is away.
        """
        origin = provenance() if tags is None else dict(tags)
        if "commit" in origin:
            origin["mlflow.source.git.commit"] = origin["commit"]
        if "command" in origin:
            origin["mlflow.source.name"] = origin["command"]
        self._record = new_record(self.experiment, execution, self.key, config or {}, origin)
        self._record["name"] = name or self._record["name"]
        with self._attempt():
            (self.mlruns / "tracking").mkdir(parents=True, exist_ok=True)
            self._alive = FileLock(marker_of(self.mlruns, execution), timeout=0)
            self._alive.acquire()
            self._save()
            self._opened()
        return self._run.parent if self._run is not None else None

    def sync(self, folder: Path) -> None:
        """Send the points that a stage folder has committed since the last time; call it once an epoch."""
        with self._attempt():
            self._uses(folder)
            if self._resting():
                return
            self._opened().sender(folder).points(running=True)
            marker_of(self.mlruns, self._begun["execution"]).touch()

    def finish(self, folder: Path, status: str = "FINISHED") -> None:
        """Send all that a stage folder has, and close its run; also for a stage that is reused.

        Args:
            folder: The stage folder.
            status: FINISHED, FAILED or KILLED.
        """
        with self._attempt():
            self._uses(folder, status)
            if not self._resting():
                self._opened().sender(folder).everything(status)

    def note(self, parameters: Mapping[str, object], metrics: Mapping[str, float], outcome: Mapping[str, str]) -> None:
        """Give the parent run parameters, metrics and tags of its own; they are sent when it ends."""
        self._begun.update(parameters=dict(parameters), metrics=dict(metrics), outcome=dict(outcome))

    def end(self, status: str = "FINISHED", description: str = "", files: Sequence[Path] = ()) -> None:
        """Close the execution: send what is missing, give the parent its summary, and its status.

        Args:
            status: FINISHED, FAILED or KILLED.
            description: Markdown, shown on the parent's page above the links to the runs.
            files: The parent's artifacts, such as the report.
        """
        record = self._begun
        record |= {
            "status": status,
            "finished": int(time.time() * 1000),
            "description": description,
            "files": [str(file.resolve()) for file in files],
        }
        with self._attempt():
            self._save()
            run = self._opened()
            run.catch_up(closing=True)
            run.close()
            self._save()
            marker_of(self.mlruns, record["execution"]).unlink(missing_ok=True)
        if self._alive is not None:
            self._alive.release()
        self._run = None

    def link(self, base: str | None = None) -> str | None:
        """Return the address of the page that compares this execution's runs, None if the store has none of them.

        Args:
            base: Address of the MLflow page; None is the tracking server's own, or where ``kdlab ui`` opens it.
        """
        if self._record is None:
            return None
        served = self.uri if self.uri.startswith("http") else "http://127.0.0.1:5000"
        experiments, _ = runs_of(self.mlruns, self._record, self.key)
        return comparison_link(base or served, self._record["execution"], experiments) if experiments else None

    @property
    def _begun(self) -> Record:
        if self._record is None:
            raise RuntimeError("begin() has not been called")
        return self._record

    def _opened(self) -> ExecutionRun:
        if self._run is None:
            store = Store(self.mlruns, self.uri)
            settle(store)
            self._run = ExecutionRun(store, self._begun)
        return self._run

    def _uses(self, folder: Path, status: str | None = None) -> None:
        """Remember, before anything is sent, that this execution uses the folder and how its stage ended."""
        record = self._begun
        known = folder.name in record["folders"]
        if not known:
            record["folders"].append(folder.name)
        if status is not None:
            record["ended"][folder.name] = status
        if status is not None or not known:
            self._save()

    def _save(self) -> None:
        write_json(record_of(self.mlruns, self._begun["execution"]), self._begun)

    def _resting(self) -> bool:
        return time.monotonic() < self._rests_until

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        """Let nothing that a store can do reach the training, and no stop tear a write in two."""
        started = time.monotonic()
        try:
            with held_back():
                yield
        except failures() as error:
            now = time.monotonic()
            self._rests_until = now + max(SHORTEST_REST, REST * (now - started))
            self._run = None  # opened anew: the run may have been deleted, the server replaced
            if not self._warned:
                self._warned = True
                reason = " ".join(str(error).split())[:160]
                where = "the database in mlruns" if self.key == LOCAL else self.key
                logger.warning(
                    "MLflow (%s) is not reachable, training goes on, it is brought up to date later: %s", where, reason
                )
