"""Runs commands of ``kdlab`` one after the other in one process, and writes what each said and what was recorded.

python commands.py COMMANDS.json ANSWERS.json, in the folder of a project. One process, because each would spend most of
its time on loading torch. Nothing but the command line of the package is used: its modules may move.
"""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: The texts that were hashed, by their SHA-256: what goes into a fingerprint is JSON.
HASHED: dict[str, Any] = {}
_sha256 = hashlib.sha256


def remembering(data: bytes = b"", **options: Any) -> Any:
    """SHA-256 that remembers JSON."""
    hashed = _sha256(data, **options)
    if data[:1] == b"{":
        with contextlib.suppress(ValueError):
            HASHED[hashed.hexdigest()] = json.loads(data)
    return hashed


@contextlib.contextmanager
def caught(stream: int, into: dict[str, Any], name: str) -> Iterator[None]:
    """What is written to a stream meanwhile, by this process and those that it starts."""
    before = os.dup(stream)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), stream)
        try:
            yield
        finally:
            for writer in (sys.stdout, sys.stderr):
                writer.flush()
            os.dup2(before, stream)
            os.close(before)
            file.seek(0)
            into[name] = file.read().decode()


def answer_of(command: list[str]) -> dict[str, Any]:
    """The exit code of a command and what it printed."""
    from kdlab.__main__ import main

    answer: dict[str, Any] = {"command": command}
    with caught(1, answer, "stdout"), caught(2, answer, "stderr"):
        try:
            sys.argv = ["kdlab", *command]  # it is recorded as the command
            answer["code"] = main(command)
        except SystemExit as stop:
            answer["code"] = stop.code or 0
    return answer


def tracked(database: Path) -> list[dict[str, Any]]:
    """Every run of every experiment in MLflow, oldest first."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(f"sqlite:///{database}")
    experiments = client.search_experiments(view_type=ViewType.ALL, order_by=["experiment_id ASC"])
    return [
        {
            "experiment": experiment.name,
            "id": run.info.run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "tags": dict(sorted(run.data.tags.items())),
            "params": dict(sorted(run.data.params.items())),
            "metrics": {key: len(client.get_metric_history(run.info.run_id, key)) for key in sorted(run.data.metrics)},
            "artifacts": artifacts(client, run.info.run_id, None),
        }
        for experiment in experiments
        for run in client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    ]


def artifacts(client: Any, run: str, folder: str | None) -> list[str]:
    """The paths of a run's artifacts."""
    found: list[str] = []
    for entry in client.list_artifacts(run, folder):
        found += artifacts(client, run, entry.path) if entry.is_dir else [entry.path]
    return sorted(found)


def studied(database: Path) -> list[dict[str, Any]]:
    """Every trial of every study in Optuna's database."""
    import optuna

    storage = f"sqlite:///{database}"
    studies = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
    return [
        {
            "study": study.study_name,
            "directions": [direction.name for direction in study.directions],
            "attributes": study.user_attrs,
            "trials": [
                {
                    "number": trial.number,
                    "state": trial.state.name,
                    "values": trial.values,
                    "searched": trial.params,
                    "attributes": trial.user_attrs,
                }
                for trial in study.trials
            ],
        }
        for study in studies
    ]


if __name__ == "__main__":
    hashlib.sha256 = remembering  # type: ignore[assignment]  # before kdlab is loaded
    commands, written = map(Path, sys.argv[1:])
    answers = [answer_of(command) for command in json.loads(commands.read_text())]
    databases = {"runs": (tracked, "mlflow.db"), "studies": (studied, "optuna.db")}
    held = {
        name: read(Path("mlruns", file).resolve()) if Path("mlruns", file).exists() else []
        for name, (read, file) in databases.items()
    }
    written.write_text(json.dumps({"answers": answers, "hashed": HASHED, **held}))
