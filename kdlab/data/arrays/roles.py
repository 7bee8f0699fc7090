"""Which array is which, where the user has not said it and only one can be."""

from collections.abc import Collection, Iterable

from kdlab.data.arrays.npz_file import Header
from kdlab.data.arrays.stored import Arrays

#: Names by which an array is taken although others would fit too.
INPUTS = ("x", "inputs", "input", "images", "image", "series", "signals", "data", "features", "samples")
TARGETS = ("y", "target", "targets", "label", "labels", "class", "classes")
NUMBERS, CLASSES = "biuf", "biufUS"


def inputs_of(arrays: Arrays, told: str | None) -> str:
    """Return the name of the inputs: as told, or the only array of numbers with more than one value a sample.

    Raises:
        ValueError: If there is no such array, none fits, or several do and none alone has a usual name.
    """
    if told is not None:
        return arrays.require(told, "inputs")
    return _only(arrays, "inputs", input_candidates(arrays), INPUTS)


def target_of(arrays: Arrays, told: str | None, inputs: str) -> str:
    """Return the name of the target: as told, or the only other array with one value a sample.

    Raises:
        ValueError: If there is no such array, none fits, or several do and none alone has a usual name.
    """
    if told is not None:
        return arrays.require(told, "target")
    return _only(arrays, "target", target_candidates(arrays, inputs), TARGETS)


def input_candidates(arrays: Arrays) -> list[str]:
    """Return the arrays of numbers with more than one value a sample."""
    return [name for name in arrays.names if _is_many(arrays.header(name))]


def target_candidates(arrays: Arrays, inputs: str) -> list[str]:
    """Return the arrays of numbers or texts that have one value for each sample of the inputs."""
    samples = arrays.header(inputs).shape[0]
    return [name for name in arrays.names if name != inputs and _is_one(arrays.header(name), samples)]


def _is_many(header: Header) -> bool:
    return header.dtype.kind in NUMBERS and len(header.shape) > 1 and any(size > 1 for size in header.shape[1:])


def _is_one(header: Header, samples: int) -> bool:
    fits = bool(header.shape) and header.shape[0] == samples and all(size == 1 for size in header.shape[1:])
    return fits and header.dtype.kind in CLASSES


def _only(arrays: Arrays, argument: str, candidates: Iterable[str], usual: Collection[str]) -> str:
    fitting = list(candidates)
    chosen = [name for name in fitting if name.lower() in usual]
    chosen = chosen if len(chosen) == 1 else fitting
    if len(chosen) == 1:
        return chosen[0]
    if not chosen:
        raise ValueError(f"{arrays.path} has no array that may be {argument}; it has {arrays.listed()}")
    named = ", ".join(f"{name} {arrays.header(name)}" for name in chosen)
    raise ValueError(f"{arrays.path} has several arrays that may be {argument}: {named}; say {argument}: NAME")
