"""The records in a stage's folder: what the stage is, how its training ended, and what each test gave."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kdlab.records.files import read_json, write_json
from kdlab.records.typed_json import from_json


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """``stage.json``: the description of the stage, written before anything trains.

    Attributes:
        experiment, stage, seed: those of the execution that first asked for this stage.
        fingerprint: the hash of everything that decides the outcome.
        config: the stage's part of the resolved experiment.
        parameters: a flat dictionary by the names under which users compare stages.
        teacher: fingerprint of the stage that teaches it, a list if several do; None if none does.
        start: fingerprint of the stage from whose weights it starts, or None.
        unknown_data: class of the data module, if the content of its data cannot be known; else None.
        kind: class of the stage's module.
        created: milliseconds since 1970 when the training first began. It stays the same when the training is resumed,
            and MLflow's run is found by it.
    """

    experiment: str
    stage: str
    seed: int
    fingerprint: str
    config: dict[str, Any]
    parameters: dict[str, Any]
    teacher: str | list[str] | None = None
    start: str | None = None
    unknown_data: str | None = None
    kind: str
    created: int

    @property
    def teachers(self) -> list[str]:
        """The fingerprints of the stages that teach it: none, one or several."""
        return [self.teacher] if isinstance(self.teacher, str) else self.teacher or []

    @classmethod
    def read(cls, folder: Path) -> "StageRecord | None":
        """Return the folder's record, or None if it is missing or damaged."""
        return from_json(cls, read_json(folder / "stage.json"))

    def write(self, folder: Path) -> None:
        """Write the file in one atomic step."""
        write_json(folder / "stage.json", asdict(self))


@dataclass(frozen=True)
class Done:
    """``done.json``: how a training ended. It is written last, so a folder that has it is finished.

    Attributes:
        epoch: the chosen epoch, counted from 0; -1 if nothing was trained.
        monitor: the metric by which the epoch was chosen; None if nothing was trained.
        best: the monitored metric's value at that epoch; None if nothing was trained.
        steps: how many optimiser steps were made.
        epochs: how many epochs were begun.
        seconds: training time over all resumes, including validation.
        evaluation_seconds: the part of ``seconds`` that was spent on scoring.
        versions: of the libraries that trained it.
        memory_bytes: the most memory that the training held, beyond what the process held before; None if it cannot be
            measured.
        files: size and SHA-256 of each file of the finished stage, as ``StageFolder.finish`` found them.
    """

    epoch: int
    monitor: str | None
    best: float | None
    steps: int
    epochs: int
    seconds: float
    evaluation_seconds: float
    versions: dict[str, str]
    memory_bytes: float | None = None
    files: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Done | None":
        """Return the folder's record, or None if it is missing or damaged."""
        return from_json(cls, read_json(folder / "done.json"))

    def write(self, folder: Path) -> None:
        """Write the file in one atomic step; ``memory_bytes`` is left out if it was not measured."""
        content = asdict(self)
        if self.memory_bytes is None:
            del content["memory_bytes"]
        write_json(folder / "done.json", content)


@dataclass(frozen=True)
class TestResult:
    """``test-<evaluation>.json``: the result of a test under one evaluation's hash.

    Attributes:
        metrics: values by name; None for a metric that had no value.
        time: when the test ended, in milliseconds since 1970.
        epoch: the chosen epoch whose weights were tested.
    """

    __test__ = False  # pytest would take a class of this name for tests

    metrics: Mapping[str, float | None]
    time: int
    epoch: int

    @classmethod
    def read(cls, folder: Path, evaluation: str) -> "TestResult | None":
        """Return the result of this evaluation, or None if it is missing or damaged."""
        return from_json(cls, read_json(folder / f"test-{evaluation}.json"))

    def write(self, folder: Path, evaluation: str) -> None:
        """Write the file in one atomic step."""
        write_json(folder / f"test-{evaluation}.json", asdict(self))
