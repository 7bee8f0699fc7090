"""Bringing one MLflow run up to date with its stage folder.

``tracking.json`` in the folder remembers, for each tracking URI, the run and what was sent to it. If a process is
killed after sending and before remembering, the same points are sent again with the same times. MLflow keeps points
unique by (run, key, time, step, value), in its databases and behind its server, so none is doubled.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from kdlab.records.executions import Status
from kdlab.records.files import Record, read_json, write_json
from kdlab.records.stage_folder import StageFolder
from kdlab.records.stage_records import StageRecord
from kdlab.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

# MLflow accepts no more in one request.
METRICS, PARAMETERS = 1000, 100
# Executions remembered in a tag, which holds 8000 characters.
EXECUTIONS = 200
# MLflow's page draws a metric that has only step 0 as bars side by side, and one with another step as single points.
TEST_STEP = 0
NOT_IN_A_NAME = re.compile(r"[^\w/. :-]")


def cleaned(name: str) -> str:
    """Return a name that MLflow accepts for a metric or parameter."""
    return NOT_IN_A_NAME.sub("_", name)[:250]


def written(value: object) -> str:
    """Return a parameter's value as text: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def metrics_of(values: Mapping[str, float | None], time: float, step: int) -> "list[Metric]":
    """Return MLflow's points for values measured at ``time`` (milliseconds since 1970); missing values are left out."""
    from mlflow.entities import Metric

    numbers = {cleaned(key): value for key, value in values.items() if value is not None}
    return [Metric(key, float(value), int(time), step) for key, value in numbers.items()]


def log_metrics(store: Store, run: str, metrics: "Sequence[Metric]") -> None:
    """Send any number of points in as few requests as MLflow allows."""
    for start in range(0, len(metrics), METRICS):
        store.client.log_batch(run, metrics=metrics[start : start + METRICS])


def find_run(store: Store, run: str | None) -> "Run | None":
    """Return the run, or None if it was never made or was deleted."""
    from mlflow.exceptions import MlflowException

    if run is None:
        return None
    try:
        recorded = store.client.get_run(run)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return recorded if recorded.info.lifecycle_stage == "active" else None


class Sender:
    """Sends one stage folder to one store, for one execution.

    Args:
        store: The store to send to.
        folder: The stage folder; ``tracking.json`` is written there.
        stage: The folder's description of the stage.
        experiment: Name of the MLflow experiment in which a new run is made.
        execution: Id of the execution that trains or reuses the stage.
        parent: Run of that execution.
        tags: Further tags of a new run: commit, versions.
    """

    def __init__(
        self,
        store: Store,
        folder: StageFolder,
        stage: StageRecord,
        experiment: str,
        execution: str,
        parent: str,
        tags: Mapping[str, str],
    ) -> None:
        self.store, self.folder, self.stage = store, folder, stage
        self.execution, self.parent, self.tags = execution, parent, dict(tags)
        self.memory = folder.path / "tracking.json"
        # Two executions may use one stage at the same time.
        self.lock = FileLock(store.mlruns / "tracking" / f"{folder.fingerprint}.lock", timeout=30)
        with self.lock:
            self.state = self._open_run(store.experiment(experiment))
            self._remember()

    def points(self, running: bool) -> None:
        """Send the committed points that were not sent yet; ``running`` says that the run is still being trained."""
        with self.lock:
            self._recall()
            if running and self.state["status"] != Status.RUNNING:
                self.store.client.update_run(self.state["run_id"], status=Status.RUNNING)
                self.state["status"] = Status.RUNNING
            committed = self.folder.committed
            if committed > self.state["sent_bytes"]:
                lines = self.folder.points(self.state["sent_bytes"])
                metrics = [m for line in lines for m in metrics_of(line["metrics"], line["time"], int(line["step"]))]
                log_metrics(self.store, self.state["run_id"], metrics)
                self.state["sent_bytes"] = committed
            self._remember()

    def everything(self, status: str) -> None:
        """Send the points, tests and files that were not sent yet, and end the run with a status."""
        self.points(running=False)
        with self.lock:
            self._recall()
            last = self._send_tests()
            self._send_outcome()
            self._send_files()
            if self.state["status"] != status:
                last = max([last, *(float(line["time"]) for line in self.folder.points()[-1:])])
                self.store.client.set_terminated(self.state["run_id"], status, end_time=int(last) or None)
                self.state["status"] = status
            self._remember()

    def _open_run(self, experiment: str) -> Record:
        state = self._known() or {}
        run = find_run(self.store, state.get("run_id")) or self._search(experiment)
        if run is None:
            state = {"executions": state.get("executions", [])}
            run = self._create(experiment)
        elif run.info.run_id != state.get("run_id"):
            state = {"executions": run.data.tags.get("executions", "").split()}
        defaults = {"sent_bytes": 0, "parameters": False, "tests": [], "versions": False, "files": {}}
        state = defaults | state
        state |= {
            "run_id": run.info.run_id,
            "experiment_id": run.info.experiment_id,
            "created": self.stage.created,
            "status": run.info.status,
        }
        self._name_execution(state, moves=run.info.experiment_id == experiment)
        if not state["parameters"]:
            self._send_parameters(run.info.run_id)
            state["parameters"] = True
        return state

    def _search(self, experiment: str) -> "Run | None":
        """Return the run of a process that was killed after making it and before remembering it, or None."""
        runs = self.store.client.search_runs([experiment], f"tags.`kdlab.folder` = '{self._address}'", max_results=1)
        return runs[0] if runs else None

    @property
    def _address(self) -> str:
        """A name for this folder and this training: a folder that is emptied and trained afresh gets a new run."""
        return f"{self.store.home}/{self.folder.path.name}/{self.stage.created}"

    def _create(self, experiment: str) -> "Run":
        return self.store.client.create_run(
            experiment,
            start_time=self.stage.created,
            run_name=f"{self.stage.stage} seed {self.stage.seed}",
            tags=self.tags
            | {
                "kdlab.folder": self._address,
                "stage": self.stage.stage,
                "seed": str(self.stage.seed),
                "kind": self.stage.kind,
                "fingerprint": self.stage.fingerprint,
            },
        )

    def _name_execution(self, state: Record, moves: bool) -> None:
        """Tag the run with every execution that used it, and make it a child of the newest one's run."""
        from mlflow.entities import RunTag

        if self.execution in state["executions"]:
            return
        state["executions"] = [self.execution, *state["executions"]][:EXECUTIONS]
        tags = {"execution": self.execution, "executions": " ".join(state["executions"])}
        if moves:  # MLflow's page cannot unfold a parent in another experiment
            tags["mlflow.parentRunId"] = self.parent
        self.store.client.log_batch(state["run_id"], tags=[RunTag(key, value) for key, value in tags.items()])

    def _send_parameters(self, run: str) -> None:
        from mlflow.entities import Param

        values = {cleaned(key): written(value) for key, value in self.stage.parameters.items()}
        parameters = [Param(key, value) for key, value in values.items()]
        for start in range(0, len(parameters), PARAMETERS):
            self.store.client.log_batch(run, params=parameters[start : start + PARAMETERS])

    def _send_tests(self) -> float:
        """Send the tests that were not sent yet; return the time of the last one, or 0 if there is none."""
        tests = self.folder.tests()
        for name, test in tests.items():
            if name not in self.state["tests"]:
                # An explainer's numbers on its training have a curve in the run, which would get a point at step 0.
                metrics = {key: value for key, value in test.metrics.items() if not key.startswith("train/")}
                log_metrics(self.store, self.state["run_id"], metrics_of(metrics, test.time, TEST_STEP))
                self.state["tests"].append(name)
        return max((float(test.time) for test in tests.values()), default=0.0)

    def _send_outcome(self) -> None:
        """Tag the run with the chosen epoch and the versions of the libraries that trained it."""
        from mlflow.entities import RunTag

        done = self.folder.done
        if done is not None and not self.state["versions"]:
            tags = [RunTag(f"version.{cleaned(name)}", str(value)) for name, value in done.versions.items()]
            tags.append(RunTag("epoch", str(done.epoch)))
            self.store.client.log_batch(self.state["run_id"], tags=tags)
            self.state["versions"] = True

    def _send_files(self) -> None:
        """Send files that are new or have changed since they were sent."""
        import yaml

        self.store.discard_uploads(self.state["run_id"])
        if "config.yaml" not in self.state["files"]:
            text = yaml.safe_dump(self.stage.config, sort_keys=False, allow_unicode=True)
            self.store.client.log_text(self.state["run_id"], text, "config.yaml")
            self.state["files"]["config.yaml"] = []
        root = self.folder.path
        named = {"figures": self.folder.figures(), "weights": sorted(root.glob("*.safetensors"))}
        named |= {"scores": sorted(root.glob("scores-*.npz")), "": sorted(root.glob("explainer.txt"))}
        for place, paths in named.items():
            for path in paths:
                # A cache of soft labels is large and can be computed again.
                if path.name.startswith("soft_labels"):
                    continue
                seen = [path.stat().st_size, path.stat().st_mtime_ns]
                name = str(path.relative_to(root))
                if self.state["files"].get(name) != seen:
                    self.store.client.log_artifact(self.state["run_id"], str(path), place or None)
                    self.state["files"][name] = seen

    def _known(self) -> Record | None:
        """Return what was sent of this training, or None; an emptied folder that was begun afresh has sent nothing."""
        state: Any = (read_json(self.memory) or {}).get(self.store.key)
        return state if state and state.get("created") == self.stage.created else None

    def _recall(self) -> None:
        self.state = self._known() or self.state

    def _remember(self) -> None:
        write_json(self.memory, (read_json(self.memory) or {}) | {self.store.key: self.state})
