"""Starting a tracker, and reading what it left in MLflow."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from kdlab.tracking.store import database
from kdlab.tracking.tracker import Tracker


def client_of(mlruns: Path) -> MlflowClient:
    return MlflowClient(database(mlruns))


def runs(mlruns: Path, where: str = "", experiment: str = "digits") -> list[Run]:
    client = client_of(mlruns)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id], where))


def stage_runs(mlruns: Path, stage: str = "student") -> list[Run]:
    return runs(mlruns, f"tags.stage = '{stage}'")


def history(mlruns: Path, run: Run, key: str = "val/accuracy") -> list[tuple[int, int, float]]:
    points = client_of(mlruns).get_metric_history(run.info.run_id, key)
    return sorted((point.step, point.timestamp, point.value) for point in points)


def files(mlruns: Path, run: Run, place: str) -> list:  # type: ignore[type-arg]  # MLflow names the class nowhere public
    return list(client_of(mlruns).list_artifacts(run.info.run_id, place))


def tracked(mlruns: Path, execution: str = "run1", experiment: str = "digits", uri: str | None = None) -> Tracker:
    tracker = Tracker(mlruns, experiment, uri)
    tracker.begin(execution, {"name": experiment}, {"commit": "abc"})
    return tracker


def sent(tracker: Tracker) -> None:
    """Wait until nothing is left to send; a healthy store alone comes to that."""
    thread = tracker._courier._thread
    if thread is not None:
        thread.join(120)
        assert not thread.is_alive()


def dies(tracker: Tracker) -> None:
    """Lift the lock, as the kernel does when a process ends."""
    sent(tracker)
    assert tracker._news is not None
    tracker._news.leave()
