"""The column to predict: its texts are the classes."""

import math

from torch import Tensor

from kdlab.data.tabular.cells import Cells
from kdlab.data.tabular.columns import levels_of

MOST_CLASSES = 100


def class_numbers(cells: Cells, name: str) -> tuple[Tensor, list[str]]:
    """Return the class number of each row, and the classes' names, sorted (as numbers if they are).

    Raises:
        ValueError: If a cell is missing, all say the same, or the column holds measurements instead of classes.
    """
    column = levels_of(name, cells.complete(name))
    numbers = [_number(text) for text in column.levels]
    names = column.levels
    codes = column.codes
    if len(names) < 2:
        raise ValueError(
            f"{cells.files[0][0].path}: target {name!r} says {names[0]!r} in all {cells.rows} rows; it takes two"
            " classes the least"
        )
    if not any(map(math.isnan, numbers)):
        if not all(number.is_integer() for number in numbers):
            raise ValueError(
                f"target {name!r} holds fractional numbers; kdlab classifies (regression is not supported)"
            )
        order = sorted(range(len(names)), key=numbers.__getitem__)
        names = [names[place] for place in order]
        codes = Tensor([order.index(place) for place in range(len(order))]).long()[codes]
    if len(names) > max(MOST_CLASSES, cells.rows // 10):
        raise ValueError(
            f"target {name!r} has {len(names)} different values in {cells.rows} rows; these are no classes"
        )
    return codes, names


def _number(text: str) -> float:
    """The number that a text is, NaN where it is none; Python reads 1_0 as 10, in a table it is a code."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan
