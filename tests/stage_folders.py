"""Made-up stage folders and executions, as a run leaves them."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kdlab.records.stage_folder import StageFolder
from kdlab.records.stage_records import Done, TestResult

CREATED = 1_700_000_000_000
# One transparent pixel.
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def begin_stage(
    mlruns: Path,
    stage: str = "student",
    seed: int = 0,
    *,
    experiment: str = "digits",
    kind: str = "Distilled",
    teacher: str | Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    created: int = CREATED,
) -> Path:
    """Make the folder of a stage that has not logged anything yet."""
    folder = mlruns / "stages" / f"{stage.encode().hex()}{seed}"
    given = {"student.alpha": 1.0, "trainer.max_epochs": 3} if parameters is None else dict(parameters)
    record = {
        "experiment": experiment,
        "stage": stage,
        "seed": seed,
        "fingerprint": folder.name,
        "config": {"module": {"class_path": kind, "init_args": {"alpha": 1.0}}},
        "parameters": given,
        "teacher": teacher,
        "kind": kind,
        "created": created,
    }
    write(folder / "stage.json", record)
    return folder


def done(**changes: Any) -> Done:
    """How a training of three epochs ended."""
    values: dict[str, Any] = {"epoch": 2, "monitor": "val/accuracy", "best": 0.9, "steps": 30, "epochs": 3}
    values |= {"seconds": 12.5, "evaluation_seconds": 2.5, "versions": {"torch": "2.6"}}
    return Done(**{**values, **changes})


def log_epoch(folder: Path, epoch: int, *, commit: bool = True, metrics: Mapping[str, float] | None = None) -> None:
    """Append an epoch's line to the folder, and cover it by a checkpoint."""
    values = {"train/loss": 1.0 / (epoch + 1), "val/accuracy": 0.5 + 0.1 * epoch} | dict(metrics or {})
    line = {"time": CREATED + 1000 * (epoch + 1), "step": 10 * (epoch + 1), "epoch": epoch, "metrics": values}
    path = folder / "metrics.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
    if commit:
        write(folder / "committed.json", {"bytes": path.stat().st_size})


def complete_stage(
    folder: Path,
    test: Mapping[str, float] | None = None,
    *,
    evaluation: str = "e1",
    epochs: int = 3,
    files: bool = True,
) -> None:
    """Add what a finished stage has: epochs, weights, test scores, figures, rules."""
    for epoch in range(epochs):
        log_epoch(folder, epoch)
    metrics = {"test/accuracy": 0.9, "cost/parameters": 100.0} if test is None else dict(test)
    TestResult(metrics, CREATED + 10_000, epochs - 1).write(folder, evaluation)
    (folder / "model.safetensors").write_bytes(b"weights")
    if files:
        (folder / "soft_labels.safetensors").write_bytes(b"labels")
        np.savez(folder / f"scores-{evaluation}.npz", index=np.arange(3))
        (folder / "figures").mkdir()
        (folder / "figures" / "attributions.png").write_bytes(PIXEL)
        (folder / "explainer.txt").write_text("if x < 0.5: class 1\nelse: class 0\n")
    StageFolder(folder).finish(done(epoch=epochs - 1, steps=10 * epochs, epochs=epochs))


def write_execution(
    mlruns: Path,
    folders: Sequence[Path],
    identity: str = "run1",
    *,
    experiment: str = "digits",
    status: str = "FINISHED",
    started: int = CREATED,
    reused: bool = False,
    evaluation: str = "e1",
    **further: object,
) -> None:
    """Write the file of an execution that used the folders."""
    stages = []
    for folder in folders:
        record = json.loads((folder / "stage.json").read_text())
        stages.append({key: record[key] for key in ("stage", "seed", "fingerprint")} | {"reused": reused})
    content = {
        "id": identity,
        "experiment": experiment,
        "started": started,
        "ended": None if status == "RUNNING" else started + 60_000,
        "status": status,
        "stages": stages,
        "config": {"name": experiment},
        "evaluation": evaluation,
    }
    write(mlruns / "executions" / f"{identity}.json", content | further)
