"""MLflow as a view of the stage folders that is kept up to date while they grow."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kdlab.interruption import held_back
from kdlab.records.executions import Status
from kdlab.tracking.addresses import linkable
from kdlab.tracking.courier import Courier
from kdlab.tracking.executions import settle
from kdlab.tracking.news import News
from kdlab.tracking.provenance import provenance
from kdlab.tracking.records import new_record
from kdlab.tracking.server import comparison_link, runs_of
from kdlab.tracking.store import address


def courier_for(mlruns: Path, uri: str | None = None) -> Courier:
    """Return a courier that also sends what earlier processes left; several trackers of one process can share it."""
    return Courier(mlruns.resolve(), uri, settle)


class Tracker:
    """Shows an experiment's stage folders in MLflow, without ever holding up training.

    All calls write to ``mlruns`` and return; the thread of a ``Courier`` sends what was written. Only ``end`` waits for
    that thread, for a limited time. A store that is unreachable, full, locked, slow or missing costs one warning and
    nothing else: the folders keep everything, and the next command with the same store sends what is missing, with the
    times at which it was measured.

    Args:
        mlruns: Folder of the stages, of the database and of the artifacts.
        experiment: Name of the experiment in MLflow.
        uri: Any MLflow tracking URI; None means ``MLFLOW_TRACKING_URI``, or else the database inside ``mlruns``.
        courier: The courier to use, if other executions follow in this process; None makes a new one.
    """

    def __init__(self, mlruns: Path, experiment: str, uri: str | None = None, courier: Courier | None = None) -> None:
        self.mlruns = mlruns.resolve()
        self.experiment = experiment
        self.uri, self.key = address(self.mlruns, uri)
        self._shared = courier is not None
        self._courier = courier_for(self.mlruns, uri) if courier is None else courier
        self._news: News | None = None

    def begin(
        self,
        execution: str,
        config: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> None:
        """Begin the execution's parent run, and let the courier close what killed processes left open.

        Args:
            execution: Id of the execution, unique in ``mlruns``.
            config: Resolved configuration, kept as the parent's ``config.yaml``.
            tags: Tags of the parent and of runs made for it; None are those of ``provenance()``.
            name: Name of the parent run; None makes one of the experiment and the execution.
        """
        origin = provenance() if tags is None else dict(tags)
        if "commit" in origin:
            origin["mlflow.source.git.commit"] = origin["commit"]
        if "command" in origin:
            origin["mlflow.source.name"] = origin["command"]
        record = new_record(self.experiment, execution, self.key, config or {}, origin)
        record["name"] = name or record["name"]
        self._news = News(self.mlruns, record)
        with self._written_down():
            self._news.begin()

    def sync(self, folder: Path) -> None:
        """Note that a stage folder has newly committed points; call this once in each epoch."""
        with self._written_down() as news:
            news.add(folder, None)

    def finish(self, folder: Path, status: str = Status.FINISHED) -> None:
        """Note that a stage folder is complete and its run can be ended; call this for a reused stage too.

        Args:
            folder: The stage folder.
            status: FINISHED, FAILED or KILLED.
        """
        with self._written_down() as news:
            news.add(folder, status)

    def note(self, parameters: Mapping[str, object], metrics: Mapping[str, float], outcome: Mapping[str, str]) -> None:
        """Give the parent run parameters, metrics and tags of its own; they are sent when it ends."""
        with self._written_down() as news:
            news.change({"parameters": dict(parameters), "metrics": dict(metrics), "outcome": dict(outcome)})

    @held_back()
    def end(self, status: str = Status.FINISHED, description: str = "", files: Sequence[Path] = ()) -> bool:
        """End the execution: send what is missing, and the parent's summary and status.

        Args:
            status: FINISHED, FAILED or KILLED.
            description: Markdown, shown on the parent's page above the links to the runs.
            files: The parent's artifacts, such as the report.

        Returns:
            Whether the store has everything; if not, the next command sends the rest.
        """
        last = {
            "status": status,
            "finished": int(time.time() * 1000),
            "description": description,
            "files": [str(file.resolve()) for file in files],
        }
        with self._written_down(at_once=True) as news:
            news.end(last)
        complete = self._courier.wait(self._begun, last=not self._shared)
        if not complete:
            self._courier.warn_of_lag()
        return complete

    def link(self, base: str | None = None) -> str | None:
        """Return the address of the page that compares this execution's runs, or None if the store has none of them.

        Args:
            base: Address of the MLflow page; None means the tracking server's own, or the address that ``kdlab ui``
                uses.
        """
        if self._news is None:
            return None
        served = linkable(self.uri) if self.uri.startswith("http") else "http://127.0.0.1:5000"
        record = self._news.record
        experiments, _ = runs_of(self.mlruns, record, self.key)
        return comparison_link(base or served, record["execution"], experiments) if experiments else None

    @contextmanager
    def _written_down(self, at_once: bool = False) -> Iterator[News]:
        """Yield the news for a change, and post them after it; stops are held back, and a full disk is a warning."""
        with held_back():
            try:
                yield self._begun
            except OSError as error:
                self._courier.warn(f"what tracking has to do cannot be written in {self.mlruns}: {error.strerror}")
            self._courier.post(self._begun, at_once)

    @property
    def _begun(self) -> News:
        if self._news is None:
            raise RuntimeError("begin() has not been called")
        return self._news
