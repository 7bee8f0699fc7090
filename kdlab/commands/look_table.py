"""Say what a table holds, and print the block that reads it; the target is guessed, identities and leaks are named."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from kdlab.commands.look import block, proof
from kdlab.commands.look_text import described, free_text, text_block
from kdlab.data.table import Table
from kdlab.data.tabular.cells import Cells, read_cells
from kdlab.data.tabular.columns import Column, LevelColumn, NumberColumn, column_of
from kdlab.data.tabular.delimited import DelimitedFile
from kdlab.data.tabular.parquet import ParquetFile
from kdlab.data.tabular.rows import SPLIT_WORDS
from kdlab.data.tabular.suspicions import constant, leak
from kdlab.data.tabular.target import MOST_CLASSES, class_numbers
from kdlab.errors import ConfigurationError, listing

TARGETS = ("class", "target", "label", "y", "outcome", "diagnosis", "category", "species", "kind", "churn", "default")
SPLIT_NAME = re.compile(r"(^|_)(split|part|set|subset|partition|fold)$", re.IGNORECASE)
GROUP_NAME = re.compile(
    r"(^|_)(patient|customer|client|subject|person|speaker|user|driver|licen[cs]e|record)(_?id)?$", re.IGNORECASE
)


def look_at_table(files: Mapping[str, Path], target: str | None, written: Callable[[Path], str]) -> Iterator[str]:
    """Yield comments on what the table holds and what is left out, and below them the block.

    Args:
        files: The table with the rows for training under ``train``, and the tables of its ``val`` and ``test`` splits.
        target: The column to predict; None guesses it.
        written: Gives a path as the block has it.

    Raises:
        ConfigurationError: If there is no such target, or none can be guessed.
        ValueError: If the table cannot be read, or no column is left to learn from.
    """
    paths = [files[split] for split in ("train", "test") if split in files]
    cells = read_cells(paths, Table("", "").form, ())
    yield from _comment(_described(cells))
    columns, refused = _columns(cells)
    target = target or _target(columns)
    if target not in cells.columns:
        raise ConfigurationError(f"{paths[0]} has no column {target!r}; it has {listing(list(cells.columns))}")
    refused.pop(target, None)
    numbers, names = class_numbers(cells, target)
    counts = [f"{name} {count:,}" for name, count in zip(names, numbers.bincount().tolist(), strict=True)]
    listed = f"{', '.join(counts[:12])}{' …' if len(counts) > 12 else ''}"
    yield from _comment(iter([f"target {target!r}, {len(names)} classes: {listed}"]))
    splits = [name for name in columns if name != target and len(paths) == 1 and _says_splits(name, columns[name])]
    inputs = {name: column for name, column in columns.items() if name not in (target, *splits)}
    arguments: dict[str, Any] = {"path": written(paths[0]), "target": target}
    if len(paths) > 1:
        arguments["test_path"] = written(paths[1])
    if splits:
        arguments["split"] = splits[0]
    # A column of texts and plain numbers is refused as a column of a table, but may still be free text.
    mixed = {name: column_of(cells, name, as_level=True) for name in refused}
    text = free_text(inputs | mixed)
    if text is not None:
        yield from _comment(_oddities(cells, columns, inputs))
        yield from _comment(iter([described(text, inputs | mixed)]))
        if "val" in files and "test" in files:
            arguments["val_path"] = written(files["val"])
        yield from text_block(text.name, arguments, paths[0].stem)
        return
    if "val" in files:
        yield from _comment(iter([f"{files['val'].name} is not read: Table draws its validation rows from training"]))
    leaks = _leaks(inputs, numbers)
    yield from _comment(_kinds(inputs))
    yield from _comment(_oddities(cells, columns, inputs))
    yield from _comment(
        f"column {name!r} is ignored: may be the target itself, {reason}" for name, reason in leaks.items()
    )
    yield from _comment(f"ignored: {reason}" for reason in refused.values())
    if ignore := [*splits[1:], *leaks, *refused]:
        arguments["ignore"] = ignore
    yield from proof(Table(**arguments), paths[0].stem)
    yield block("Table", arguments)


def _comment(lines: Iterator[str]) -> Iterator[str]:
    # Names come from the data, and a line break in one must not end the comment.
    return ("# " + " ".join(line.split()) for line in lines)


def _described(cells: Cells) -> Iterator[str]:
    for file, rows in cells.files:
        encoding = "" if isinstance(file, ParquetFile) else f", {file.encoding}"
        delimiter = f", delimiter {file.delimiter!r}" if isinstance(file, DelimitedFile) else ""
        yield f"{file.path.name}: {rows:,} rows, {len(cells.columns)} columns{encoding}{delimiter}"


def _columns(cells: Cells) -> tuple[dict[str, Column], dict[str, str]]:
    """Return the columns that can be read, and the reasons why the others cannot."""
    columns: dict[str, Column] = {}
    refused: dict[str, str] = {}
    for name in cells.columns:
        try:
            columns[name] = column_of(cells, name, as_level=False)
        except ValueError as error:
            refused[name] = str(error)
    return columns, refused


def _target(columns: dict[str, Column]) -> str:
    """Return a column of few different values: one named like a target, else the only text, the last, or the first."""
    few = [name for name, column in columns.items() if _is_class(column)]
    texts = [name for name, column in columns.items() if isinstance(column, LevelColumn)]
    names = list(columns)
    candidates = [name for word in TARGETS for name in names if name.lower() == word]
    candidates += texts if len(texts) == 1 else []
    candidates += [names[-1], names[0]] if names else []
    for name in candidates:
        if name in few:
            return name
    raise ConfigurationError(f"no column looks like classes; say with --target which to predict, of {listing(names)}")


def _is_class(column: Column) -> bool:
    keys = column.keys
    whole = isinstance(column, LevelColumn) or bool(torch.equal(column.values, column.values.round()))
    return bool((keys >= 0).all()) and whole and 2 <= len(torch.unique(keys)) <= MOST_CLASSES


def _leaks(inputs: dict[str, Column], target: Tensor) -> dict[str, str]:
    """Return the reasons why columns may repeat the target, by name; constant columns are left out anyway."""
    reasons = {name: leak(column, target) for name, column in inputs.items()}
    everywhere = torch.arange(len(target))
    return {
        name: reason
        for name, reason in reasons.items()
        if reason is not None and constant(inputs[name], everywhere) is None
    }


def _says_splits(name: str, column: Column) -> bool:
    return (
        isinstance(column, LevelColumn)
        and SPLIT_NAME.search(name) is not None
        and {level.lower() for level in column.levels} <= SPLIT_WORDS.keys()
    )


def _kinds(inputs: dict[str, Column]) -> Iterator[str]:
    numbers = [name for name, column in inputs.items() if isinstance(column, NumberColumn) and not column.days]
    dates = [name for name, column in inputs.items() if isinstance(column, NumberColumn) and column.days]
    levels = [f"{name} ({len(column.levels):,})" for name, column in inputs.items() if isinstance(column, LevelColumn)]
    for kind, names in (("numbers", numbers), ("dates", dates), ("categories", levels)):
        if names:
            yield f"{len(names)} {kind}: {listing(names)}"


def _oddities(cells: Cells, columns: dict[str, Column], inputs: dict[str, Column]) -> Iterator[str]:
    """Yield how many cells are missing, which columns may group rows, and how many rows repeat another."""
    missing = {name: int((column.keys < 0).sum()) for name, column in columns.items()}
    lacking = [f"{name} {count:,}" for name, count in missing.items() if count]
    yield f"missing: {listing(lacking) if lacking else 'nothing'}"
    for name, column in inputs.items():
        repeated = len(torch.unique(column.keys)) < cells.rows / 1.5
        if GROUP_NAME.search(name) and repeated and isinstance(column, LevelColumn):
            yield f"column {name!r} may say whom a row belongs to; group: {name} keeps each in one split"
    keys = pa.table({str(number): pa.array(column.keys.numpy()) for number, column in enumerate(columns.values())})
    twice = cells.rows - len(keys.group_by(keys.column_names).aggregate([]))
    yield f"rows that repeat an earlier one: {twice:,}"
