"""What a stage's folder says of the stage: what it is, how its training ended, what a test gave."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kdlab.records.files import read_json, write_json
from kdlab.records.typed_json import from_json


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """``stage.json``: what this folder is; written before anything trains.

    Attributes:
        experiment, stage, seed: who asked for it first.
        fingerprint: the hash of everything that decides the outcome.
        config: the stage of the resolved experiment.
        parameters: flat, by the names users compare by.
        teacher: fingerprint of the stage that teaches it, or of several; None for none.
        start: fingerprint of the stage from whose weights it starts.
        unknown_data: class of data whose content nobody can tell.
        kind: class of the module.
        created: milliseconds since 1970, when it first began; MLflow knows its run by this, however often it goes on.
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
        """Fingerprints of the stages that teach it, none, one or several."""
        return [self.teacher] if isinstance(self.teacher, str) else self.teacher or []

    @classmethod
    def read(cls, folder: Path) -> "StageRecord | None":
        """None where it is missing or damaged."""
        return from_json(cls, read_json(folder / "stage.json"))

    def write(self, folder: Path) -> None:
        """Write the whole file or nothing."""
        write_json(folder / "stage.json", asdict(self))


@dataclass(frozen=True)
class Done:
    """``done.json``: how a training ended; written last of all, so that where it stands the stage is finished.

    Attributes:
        epoch: the chosen one, -1 where nothing was trained.
        monitor: the metric by which it was chosen, and ``best`` its value then; None where nothing was trained.
        steps: optimiser steps, and ``epochs`` that were begun.
        seconds: of training, over all resumes, validation included; ``evaluation_seconds`` of it were scoring's.
        versions: of the libraries that trained it.
        memory_bytes: at most, beside what the process held before; None where it cannot be measured.
        files: size and SHA-256 of what the finished stage is made of, as ``StageFolder.finish`` found it.
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
        """None where it is missing or damaged."""
        return from_json(cls, read_json(folder / "done.json"))

    def write(self, folder: Path) -> None:
        """Write the whole file or nothing; memory that was not measured is left out."""
        content = asdict(self)
        if self.memory_bytes is None:
            del content["memory_bytes"]
        write_json(folder / "done.json", content)


@dataclass(frozen=True)
class TestResult:
    """``test-<evaluation>.json``: what a test under an evaluation's hash gave.

    Attributes:
        metrics: by name; None where one had no value.
        time: milliseconds since 1970.
        epoch: the chosen one, whose weights were tested.
    """

    __test__ = False  # pytest takes the name for a class of tests

    metrics: Mapping[str, float | None]
    time: int
    epoch: int

    @classmethod
    def read(cls, folder: Path, evaluation: str) -> "TestResult | None":
        """None where it is missing or damaged."""
        return from_json(cls, read_json(folder / f"test-{evaluation}.json"))

    def write(self, folder: Path, evaluation: str) -> None:
        """Write the whole file or nothing."""
        write_json(folder / f"test-{evaluation}.json", asdict(self))
