"""A folder ``mlruns`` as a record: every file by its name, and what is in it as far as it is the same each time."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.behaviour.masks import Masks, markdown

#: Files that SQLite makes and removes.
PASSING = re.compile(r"\.db-(wal|shm|journal)$")


def files_of(mlruns: Path, masks: Masks) -> dict[str, Any]:
    """What each file holds, by its masked name; MLflow's artifacts stand with their runs."""
    files = [path for path in mlruns.rglob("*") if path.is_file() and not PASSING.search(path.name)]
    files = [path for path in files if not path.is_relative_to(mlruns / "artifacts")]
    # A hash is numbered where it first appears: the executions name all stages, in the order in which they were run.
    for path in sorted((mlruns / "executions").glob("*.json")):
        masks.record(json.loads(path.read_text()))
    named = sorted((masks.text(path.relative_to(mlruns).as_posix()), path) for path in files)
    first: dict[str, str] = {}
    return {name: _short(name, _held(path, masks), first) for name, path in named}


def _short(name: str, held: Any, first: dict[str, str]) -> Any:
    """A record in which a long part that stood in an earlier file already is named by that."""
    if not isinstance(held, dict):
        return held
    short = {}
    for key, part in held.items():
        text = json.dumps(part)
        place = first.setdefault(text, f"{name}: {key}") if len(text) > 200 else f"{name}: {key}"
        short[key] = part if place == f"{name}: {key}" else f"the same as in {place}"
    return short


def _held(path: Path, masks: Masks) -> Any:
    if path.suffix == ".json":
        return masks.record(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{**masks.record(line), "metrics": list(masks.record(line["metrics"]))} for line in lines]
    if path.suffix == ".md":
        return masks.text(markdown(path.read_text())).splitlines()
    if path.suffix == ".yaml":
        return masks.text(path.read_text()).splitlines()
    if path.suffix == ".safetensors":
        return {name: _array(value) for name, value in sorted(load_file(path).items())}
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: _array(arrays[name]) for name in sorted(arrays)}
    return _array(np.load(path)) if path.suffix == ".npy" else path.suffix


def _array(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}"


def fingerprints_of(hashed: dict[str, Any], mlruns: Path, masks: Masks) -> dict[str, Any]:
    """What decides each stage's result: the JSON whose hash is the folder's name."""
    parts = {digest[:20]: part for digest, part in hashed.items()}
    folders = [path.name for path in (mlruns / "stages").iterdir()]
    return {
        masks.text(name): masks.record(parts[name], ("config",)) if name in parts else "decided in another process"
        for name in sorted(folders, key=masks.text)
    }


def runs_of(runs: list[dict[str, Any]], masks: Masks) -> list[Any]:
    """MLflow's runs in an order that does not depend on who was first; their names and parents instead of their ids."""
    names = {run["id"]: run["name"] for run in runs}
    for run in runs:
        run["tags"].pop("mlflow.note.content", None)  # the report, which stands among the files
        parent = run["tags"].pop("mlflow.parentRunId", None)
        run["parent"] = None if parent is None else names[parent]
        del run["id"]
    return sorted((masks.record(run) for run in runs), key=lambda run: (run["name"], json.dumps(run)))
