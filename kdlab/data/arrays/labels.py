"""The target: numbers or texts, and the classes that they are."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from kdlab.data.arrays.npz_file import Values
from kdlab.data.tabular.target import MOST_CLASSES


def class_numbers(
    called: str,
    values: Values,
    class_names: Sequence[str],
    place: Callable[[int], str],
    source: str = "class_names",
) -> tuple[Tensor, list[str]]:
    """Return the class number of each sample (samples,), and the classes' names.

    Classes are the values that there are, in ascending order, wherever they begin: labels from 1 or of any other
    numbers are as good as those from 0. Whole numbers may be stored as floats, and (samples, 1) is read as (samples,).

    Args:
        called: What a message calls the array.
        values: Of the array, samples first.
        class_names: Of the classes in the order of their numbers; of texts, the texts in another order. Empty: the
            values themselves.
        place: Where a sample stands, for messages.
        source: Where the names stand, for messages.

    Raises:
        ValueError: If there is not one value a sample, one is missing, they are measurements, all say the same, or
            names do not fit.
    """
    labels = one_a_sample(called, values)
    if labels.dtype.kind not in "biufUS":
        raise ValueError(f"{called} holds {labels.dtype}; a target holds numbers or texts")
    if labels.dtype.kind == "f":
        labels = _whole(called, labels, place)
    elif labels.dtype.kind in "US":
        labels = as_texts(called, labels)
        if (labels == "").any():
            raise ValueError(f"{called} has no text for {place(int((labels == '').argmax()))}; drop what has no label")
    levels, codes = np.unique(labels, return_inverse=True)
    names = [str(level) for level in levels.tolist()]
    if labels.dtype.kind == "U" and all(name.isdecimal() for name in names):
        order = sorted(range(len(names)), key=lambda number: int(names[number]))
        names, codes = [names[number] for number in order], np.argsort(order)[codes]
    if len(names) < 2:
        raise ValueError(f"{called} says {names[0] if names else 'nothing'!r} of all samples; two classes are needed")
    if len(names) > max(MOST_CLASSES, len(labels) // 10):
        raise ValueError(f"{called} has {len(names)} different values in {len(labels)} samples; these are no classes")
    if labels.dtype.kind == "i" and levels[0] == -1 and levels[1] == 0 and not class_names:
        raise ValueError(
            f"{called} says -1 beside 0 and more: drop the samples where it means no label, or give class_names where"
            " it is a class"
        )
    if not class_names:
        return torch.from_numpy(codes), names
    ordered = _in_order(f"{called}: {source}", names, class_names, labels.dtype.kind == "U")
    return torch.tensor(ordered)[torch.from_numpy(codes)], list(class_names)


def one_a_sample(called: str, values: Values) -> Values:
    """Return the values (samples,) of an array (samples,) or (samples, 1).

    Raises:
        ValueError: If it has several values a sample.
    """
    if values.size != len(values):
        raise ValueError(
            f"{called} has the shape {values.shape}; one value a sample is needed (of one-hot labels store"
            " argmax(1); several labels at once and regression are not supported)"
        )
    return values.reshape(len(values))


def as_texts(called: str, values: Values) -> Values:
    """Return values as texts; bytes are UTF-8.

    Raises:
        ValueError: If bytes are something else.
    """
    if values.dtype.kind != "S":
        return values.astype(str)
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{called} holds bytes that are no text in UTF-8; store it as texts") from error


def _whole(called: str, labels: Values, place: Callable[[int], str]) -> Values:
    finite = np.isfinite(labels)
    if not finite.all():
        raise ValueError(
            f"{called} has NaN or infinite labels in {int((~finite).sum())} samples, the first"
            f" {place(int(finite.argmin()))}; drop what has no label"
        )
    if (labels != labels.round()).any():
        raise ValueError(f"{called} holds fractional numbers; kdlab classifies (regression is not supported)")
    return labels.astype(np.int64)


def _in_order(whose: str, found: list[str], class_names: Sequence[str], texts: bool) -> list[int]:
    """The class number of each value that was found, in the order of these."""
    distinct = set(class_names)
    if not len(class_names) == len(distinct) == len(found) or (texts and distinct != set(found)):
        counts = f"{len(class_names)} names {list(class_names)[:20]} for the {len(found)} values {found[:20]}"
        rule = "say each text once" if texts else "name each value that there is once, in ascending order"
        raise ValueError(f"{whose} has {counts}; {rule}")
    return [list(class_names).index(name) for name in found] if texts else list(range(len(found)))
