"""One execution in MLflow: its parent run, and sending what killed processes left unsent."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kdlab.records.executions import Execution, Status, read_execution
from kdlab.records.files import Record, write_json
from kdlab.records.lease import Lease
from kdlab.records.stage_folder import StageFolder
from kdlab.tracking.records import marker_of, read_record, record_of, tracked_elsewhere
from kdlab.tracking.sender import PARAMETERS, Sender, cleaned, find_run, log_metrics, metrics_of, written
from kdlab.tracking.store import Store

logger = logging.getLogger(__name__)

# Tags of MLflow, of which the description is one, hold 8000 characters.
DESCRIPTION = 7900


class ExecutionRun:
    """The parent run of an execution, and the runs of its stages.

    Args:
        store: The opened store.
        record: The execution's record, see ``new_record``.
        change: Called with new values of the record, which it also writes to disk.
    """

    def __init__(self, store: Store, record: Record, change: Callable[[Mapping[str, object]], None]) -> None:
        self.store, self.record, self._change = store, record, change
        self.parent = self._open_parent()
        self._senders: dict[str, Sender] = {}

    def sender(self, name: str) -> Sender | None:
        """Return the sender of a stage folder, created at its first use; None if the folder was deleted."""
        folder, record = StageFolder(self.store.mlruns / "stages" / name), self.record
        stage = folder.record
        if stage is None:
            return None
        if name not in self._senders:
            self._senders[name] = Sender(
                self.store, folder, stage, record["experiment"], record["execution"], self.parent, record["tags"]
            )
        return self._senders[name]

    def tell(self, name: str, status: str | None) -> None:
        """Send the new points of a stage folder.

        Args:
            name: The folder's name; a folder that was deleted has nothing to send.
            status: How the stage ended, for which everything in the folder is sent; None while it trains.
        """
        sender = self.sender(name)
        if sender is not None and status is None:
            sender.points(running=True)
        elif sender is not None and status is not None:
            sender.everything(status)

    def catch_up(self, closing: bool) -> None:
        """Send everything in the stage folders.

        Args:
            closing: Whether unfinished runs that this execution began are ended too.
        """
        for name in self.record["folders"]:
            sender = self.sender(name)
            if sender is None:
                continue
            if sender.folder.done is not None:
                sender.everything(Status.FINISHED)
            elif closing and sender.state["executions"][0] == self.record["execution"]:
                ended = self.record["ended"].get(name, Status.KILLED)
                sender.everything(Status.KILLED if ended == Status.FINISHED else ended)

    def close(self) -> None:
        """Send the summary and the status of the parent run.

        The values and their times are written to disk first. If they are sent again after a kill, they are the same,
        and MLflow keeps them once.
        """
        from mlflow.entities import Param, RunTag

        client, record = self.store.client, self.record
        decided: Record = {"finished": record["finished"] or int(time.time() * 1000)}
        if record["means"] is None:
            execution = read_execution(self.store.mlruns, record["execution"])
            decided["means"] = {} if execution is None else stage_means(execution)
        self._change(decided)
        ended = record["finished"]
        log_metrics(self.store, self.parent, metrics_of(record["means"], ended, 0))
        text = f"{record['description']}\n\n{self._links()}".strip()
        log_metrics(self.store, self.parent, metrics_of(record["metrics"], ended, 0))
        tags = {"mlflow.note.content": text[:DESCRIPTION], **record["outcome"]}
        parameters = [Param(cleaned(key), written(value)) for key, value in record["parameters"].items()]
        client.log_batch(self.parent, params=parameters[:PARAMETERS], tags=[RunTag(k, v) for k, v in tags.items()])
        self.store.discard_uploads(self.parent)
        for file in map(Path, record["files"]):
            if file.exists():
                client.log_artifact(self.parent, str(file))
        client.set_terminated(self.parent, record["status"], end_time=ended)

    def _links(self) -> str:
        """Return Markdown links to the runs of the stages, as many as fit in a description."""
        room = DESCRIPTION - len(self.record["description"]) - 100
        lines = []
        for sender in self._senders.values():
            stage, state = sender.stage, sender.state
            address = f"#/experiments/{state['experiment_id']}/runs/{state['run_id']}"
            line = f"[{stage.stage} seed {stage.seed}]({address})"
            room -= len(line) + 3
            if room > 0:
                lines.append(line)
        return f"Runs: {' · '.join(lines)}" if lines else ""

    def _open_parent(self) -> str:
        record, client = self.record, self.store.client
        experiment = self.store.experiment(record["experiment"])
        run = find_run(self.store, record["parents"].get(self.store.key))
        if run is None:
            here = f"{self.store.home}/executions/{record['execution']}"
            runs = client.search_runs([experiment], f"tags.`kdlab.folder` = '{here}'", max_results=1)
            tags = record["tags"] | {"kdlab.folder": here, "execution": record["execution"], "kind": "execution"}
            run = (
                runs[0]
                if runs
                else client.create_run(
                    experiment,
                    start_time=record["started"],
                    run_name=record["name"],
                    tags=tags,
                )
            )
            # This is sent even if the run was found: its process may have been killed before sending it.
            client.log_dict(run.info.run_id, record["config"], "config.yaml")
        self._change({"parents": {**record["parents"], self.store.key: run.info.run_id}})
        return str(run.info.run_id)


def stage_means(execution: Execution) -> dict[str, float]:
    """Return the mean of each test metric over the seeds, as ``<stage>/<metric>``, without NaN and missing values."""
    values: dict[str, list[float]] = {}
    for use in execution.uses:
        for key, value in execution.tested(use).items():
            # NaN differs from itself.
            if value == value:
                values.setdefault(f"{use.stage}/{key}", []).append(value)
    return {key: sum(numbers) / len(numbers) for key, numbers in values.items()}


@contextmanager
def abandoned(mlruns: Path, key: str) -> Iterator[list[Record]]:
    """Hold and yield the records of executions whose process is gone and of which this store lacks something."""
    held: list[Lease] = []
    records = []
    try:
        for marker in sorted((mlruns / "tracking").glob("*.open")):
            lease = Lease(marker)
            record = read_record(mlruns, marker.stem, key)
            if record is not None and (record["uri"] != key or tracked_elsewhere(record, marker)):
                continue
            if not lease.take():
                continue
            held.append(lease)
            if record is None:
                logger.warning(
                    "nothing is known of the execution %s but its name, MLflow hears no more of it", marker.stem
                )
                marker.unlink(missing_ok=True)
            else:
                records.append(record)
        # In the order in which they ran, because the newest one must name itself last in the runs that it used.
        yield sorted(records, key=lambda record: int(record["started"]))
    finally:
        for lease in held:
            lease.leave()


def settle(store: Store) -> None:
    """Send and close what earlier processes left open."""
    with abandoned(store.mlruns, store.key) as records:
        for record in records:
            try:
                _settle(store, record)
            except (KeyError, ValueError):
                logger.warning("execution %s has a damaged file, MLflow shows it as it is", record["execution"])
            marker_of(store.mlruns, record["execution"]).unlink(missing_ok=True)


def _settle(store: Store, record: Record) -> None:
    def change(values: Mapping[str, object]) -> None:
        record.update(values)
        write_json(record_of(store.mlruns, record["execution"]), record)

    execution = read_execution(store.mlruns, record["execution"])
    if record["status"] == Status.RUNNING:
        recorded = execution.status if execution is not None else Status.RUNNING
        record["status"] = Status.KILLED if recorded == Status.RUNNING else recorded
    used = [use.folder.path.name for use in execution.uses] if execution is not None else []
    record["folders"] = list(dict.fromkeys([*record["folders"], *used]))
    run = ExecutionRun(store, record, change)
    run.catch_up(closing=True)
    run.close()
