"""Say what NPZ files hold, and print the block that reads them; inputs and target are guessed."""

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdlab.commands.look import block, proof
from kdlab.commands.look_table import GROUP_NAME, SPLIT_NAME, TARGETS
from kdlab.data.arrays.layout import KINDS, LONGER, SMALLEST_SIDE, Kind, channels_last, few_channels, kind_of, only_kind
from kdlab.data.arrays.npz_file import Values
from kdlab.data.arrays.roles import INPUTS, input_candidates, target_candidates
from kdlab.data.arrays.stored import Arrays
from kdlab.data.npz import FEATURE_NAMES, Npz
from kdlab.data.tabular.rows import SPLIT_WORDS
from kdlab.data.tabular.target import MOST_CLASSES
from kdlab.errors import ConfigurationError, listing

#: Names of arrays that show where the evidence is; they are no inputs.
MASKS = ("mask", "masks")
#: Columns are steps of a series if there are at least so many and neighbours correlate by more than the second number.
#: Of fewer columns nobody can tell whether neighbours are alike.
FEWEST_STEPS, ALIKE = 16, 0.6
#: How many samples are looked at to judge all of them.
FIRST_SAMPLES = 1000


def look_at_arrays(paths: Mapping[str, Path], target: str | None, written: Callable[[Path], str]) -> Iterator[str]:
    """Yield comments on the arrays and on how they are read, and below them the block.

    Args:
        paths: The file with the samples for training under ``train``, and the files of its ``val`` and ``test`` splits.
        target: The array to predict; None guesses it.
        written: Gives a path as the block has it.

    Raises:
        ConfigurationError: If the inputs or the target cannot be guessed.
        ValueError: If a file or an array cannot be read.
    """
    arrays = Arrays.opened(paths["train"], paths.get("val"), paths.get("test"))
    files = dict.fromkeys(part.file.path.name for part in arrays.parts)
    yield _comment(f"{' and '.join(files)}: arrays {arrays.listed()}")
    inputs = _inputs(arrays)
    target = _target(arrays, inputs) if target is None else arrays.require(target, "target")
    arguments: dict[str, Any] = {"path": str(paths["train"])}
    arguments |= {f"{split}_path": str(path) for split, path in paths.items() if split != "train"}
    arguments |= {"inputs": inputs, "target": target} | (yield from _layout(arrays, inputs))
    others = [name for name in target_candidates(arrays, inputs) if name != target]
    splits = [name for name in others if not arrays.splits and _says_splits(arrays, name)]
    arguments |= dict(zip(["split"], splits, strict=False))
    data = Npz(**arguments)
    data.setup()
    yield _comment(f"target {target!r}, {len(data.class_names)} classes: {_counts(data)}")
    group = yield from _group(arrays, arguments, others)
    if group is not None:
        arguments["group"] = group
        data = Npz(**arguments)
    read = {value for value in arguments.values() if isinstance(value, str)}
    if unread := [name for name in arrays.names if name not in read]:
        yield _comment(f"not read: {listing(unread)}")
    yield from proof(data, paths["train"].stem)
    yield block(
        "Npz", {key: written(Path(value)) if key.endswith("path") else value for key, value in arguments.items()}
    )


def _comment(text: str) -> str:
    # Names come from the data, and a line break in one must not end the comment.
    return "# " + " ".join(text.split())


def _inputs(arrays: Arrays) -> str:
    """Return the array that is named like inputs; without one, the array with the most values per sample."""
    candidates = [name for name in input_candidates(arrays) if name.lower() not in MASKS]
    if not candidates:
        raise ConfigurationError(f"{arrays.path} has no array of numbers to learn from; it has {arrays.listed()}")
    usual = [name for name in candidates if name.lower() in INPUTS]
    return max(usual or candidates, key=lambda name: math.prod(arrays.header(name).shape[1:]))


def _target(arrays: Arrays, inputs: str) -> str:
    """Return an array of few different values: the one named like a target, else the only one of texts, or of all."""
    candidates = target_candidates(arrays, inputs)
    values = {name: arrays.read(name, as_long_as=inputs) for name in candidates}
    few = [name for name in candidates if not _says_splits(arrays, name) and _are_classes(values[name])]
    usual = [name for word in TARGETS for name in few if name.lower() in (word, f"{word}s", f"{word}es")]
    texts = [name for name in few if values[name].dtype.kind in "US"]
    for choice in (usual[:1], texts, few):
        if len(choice) == 1:
            return choice[0]
    raise ConfigurationError(
        f"{arrays.path}: no array alone looks like classes; say with --target which to predict, of {arrays.listed()}"
    )


def _are_classes(values: Values) -> bool:
    fractional = values.dtype.kind == "f" and not bool((values == values.round()).all())
    return not fractional and 2 <= len(np.unique(values)) <= MOST_CLASSES


def _says_splits(arrays: Arrays, name: str) -> bool:
    if SPLIT_NAME.search(name) is None or arrays.header(name).dtype.kind not in "US":
        return False
    return {str(word).lower() for word in np.unique(arrays.read(name).astype(str))} <= SPLIT_WORDS.keys()


def _layout(arrays: Arrays, name: str) -> Generator[str, None, dict[str, Any]]:
    """Yield a comment on what the axes are taken for; return the arguments that ``Npz`` needs for that."""
    called, header = arrays.called(name), arrays.header(name)
    kind, reason = _kind(arrays, name)
    kind_of(called, header, kind)
    layout: dict[str, Any] = {"kind": kind}
    shape = header.shape
    if kind == "series" and len(shape) == 3 and len(set(few_channels(shape, kind))) == 1:
        layout["channels_last"] = shape[2] < shape[1]
        reason = f"{reason}, the shorter axis for channels (channels_last)"
    last = channels_last(called, shape, kind, layout.get("channels_last"))
    channels = "" if last is None else f", channels {'last' if last else 'first'}"
    yield _comment(f"inputs {name!r}: {kind}{channels}{reason}")
    return layout


def _kind(arrays: Arrays, name: str) -> tuple[Kind, str]:
    """Return what the inputs are, and the reason where their shape and type allow two readings."""
    header = arrays.header(name)
    kind = only_kind(header) if len(header.shape) in KINDS else "images"
    if kind is not None:
        return kind, ""
    if len(header.shape) == 3:
        short, long = sorted(header.shape[1:])
        alike = short >= SMALLEST_SIDE and long <= LONGER * short
        kind = "images" if alike else "series"
        return kind, f", for the axes are {'alike' if alike else 'unlike'} (kind)"
    column_names = arrays.texts(FEATURE_NAMES)
    if column_names is not None and len(column_names[1]) == header.shape[1]:
        return "table", f", with the names in {column_names[0]!r}"
    likeness = _likeness(arrays.read(name))
    kind = "series" if header.shape[1] >= FEWEST_STEPS and likeness > ALIKE else "table"
    return kind, f", for neighbouring columns correlate by {likeness:.2f} (kind)"


def _likeness(values: Values) -> float:
    """Return the mean correlation of neighbouring columns, in [-1, 1]; 0 if fewer than two columns vary."""
    part = values[:FIRST_SAMPLES].astype(np.float64)
    spread = part.std(axis=0)
    part = (part[:, spread > 0] - part.mean(axis=0)[spread > 0]) / spread[spread > 0]
    return float((part[:, 1:] * part[:, :-1]).mean()) if part.shape[1] > 1 else 0.0


def _counts(data: Npz) -> str:
    target = torch.cat([tensors["target"] for tensors in data.splits.values()])
    counts = target.bincount(minlength=data.classes).tolist()
    return listing([f"{name} {count:,}" for name, count in zip(data.class_names, counts, strict=True)], 12)


def _group(arrays: Arrays, arguments: dict[str, Any], others: list[str]) -> Generator[str, None, str | None]:
    """Yield comments on arrays that may group samples; return the one that keeps each group in one split, if any."""
    for name in others:
        # If hardly any value occurs twice, the array gives each sample a number and groups none of them.
        if GROUP_NAME.search(name) is None or len(np.unique(arrays.read(name))) > arrays.header(name).shape[0] / 1.5:
            continue
        try:
            Npz(**arguments, group=name).setup()
        except ValueError as error:
            yield _comment(f"array {name!r} may say whom a sample belongs to, but cannot be the group: {error}")
            continue
        yield _comment(f"array {name!r} says whom a sample belongs to: as group it keeps each in one split")
        return name
    return None
