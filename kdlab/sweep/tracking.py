"""A sweep in MLflow: one run for its life, above the runs of its trials."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna.trial import FrozenTrial

from kdlab.stage_folder import read_json
from kdlab.sweep.places import StudyPlace
from kdlab.sweep.study import EXECUTION
from kdlab.tracking.executions import record_of
from kdlab.tracking.provenance import provenance
from kdlab.tracking.sender import cleaned, log_metrics, metrics_of
from kdlab.tracking.store import Store, failures

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

    def open(self) -> str | None:
        """Find the run, or make it; its id."""
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
            store.client.update_run(self.id, status="RUNNING")
        except failures() as error:
            logger.warning(
                "MLflow is not reachable, the sweep has no page there: %s", " ".join(str(error).split())[:160]
            )
        return self.id

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
