"""The folder of one stage and seed: the truth about it. MLflow and the report are views of it."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from kdlab.files import replacing

# Values are whatever JSON holds, so records of these files are dictionaries to Any.
Record = dict[str, Any]


@dataclass(frozen=True)
class StageFolder:
    """Files of one stage and seed: ``mlruns/stages/<fingerprint>/``; each is written in one atomic step."""

    path: Path

    @property
    def fingerprint(self) -> str:
        """The hash of everything that decides the outcome."""
        return self.path.name

    @property
    def resume(self) -> Path:
        """Lightning's checkpoint, for going on after a stop; gone when the stage is done."""
        return self.path / "resume.ckpt"

    @property
    def journal(self) -> Path:
        """What was logged, a JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def weights(self) -> Path:
        """The chosen epoch's weights, the model's and the explainer's."""
        return self.path / "model.safetensors"

    @property
    def record(self) -> Record:
        """``stage.json``: experiment, stage, seed, fingerprint, config, parameters, teacher, kind, created (ms)."""
        return read_json(self.path / "stage.json") or {}

    @property
    def done(self) -> Record | None:
        """``done.json``, None while the stage is not finished: epoch, monitor, best, steps, seconds, versions."""
        return read_json(self.path / "done.json")

    @property
    def committed(self) -> int:
        """Bytes of the journal that a checkpoint covers: a resumed run never writes these again."""
        return int((read_json(self.path / "committed.json") or {"bytes": 0})["bytes"])

    def commit(self, size: int) -> None:
        """Say how many bytes of the journal a checkpoint covers."""
        write_json(self.path / "committed.json", {"bytes": size})

    def points(self, start: int = 0) -> list[Record]:
        """Return the logged lines from byte ``start`` to the committed end."""
        try:
            with self.journal.open("rb") as file:
                file.seek(start)
                lines = file.read(max(self.committed - start, 0)).splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines if line.strip()]

    def test_results(self, evaluation: str) -> Record | None:
        """The test metrics under an evaluation's hash, or None if it was not tested so."""
        return read_json(self.path / f"test-{evaluation}.json")

    def shown(self, evaluation: str) -> Record | None:
        """What could not be drawn, by picture, with the reason; None while the pictures have not been made."""
        return read_json(self.path / f"shown-{evaluation}.json")

    def tests(self) -> dict[str, Record]:
        """Return the evaluations by their hash: metrics, time (ms) and chosen epoch of each."""
        found = {path.stem.removeprefix("test-"): read_json(path) for path in sorted(self.path.glob("test-*.json"))}
        return {name: record for name, record in found.items() if record is not None}

    def figures(self) -> list[Path]:
        """Return the pictures by name."""
        return sorted((self.path / "figures").glob("*.png"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time trains or tests a stage; others wait here and then find it finished."""
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "lock"):
            yield

    def clear(self) -> None:
        """Forget the stage, for training it afresh; the lock stays."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            if path.name != "lock":
                path.rmdir() if path.is_dir() else path.unlink()


def read_json(path: Path) -> Record | None:
    """Return the file's dictionary, None if it is missing, damaged, or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return content if isinstance(content, dict) else None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write the whole file or nothing: a reader never sees half of it, also after a power cut."""
    with replacing(path) as scratch, scratch.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1, default=str)
        file.flush()
        os.fsync(file.fileno())
