"""Columns that teach nothing or too much: identities, constants, copies of the target."""

import re

import torch
from torch import Tensor

from kdlab.data.tabular.columns import Column, LevelColumn, NumberColumn

#: In fewer rows, different values are no sign of an identity.
FEWEST_ROWS = 20
NAMED_IDENTITY = re.compile(r"(^|[^a-z])(id|ids|uuid|guid)$|^index$|^column \d+$|[a-z]I[dD]$", re.IGNORECASE)
#: A value that tells the target must stand in so many rows on average to be no chance.
OFTEN = 10
#: Most columns are told not to be suspect by so many rows.
FIRST_ROWS = 1000


def identity(column: Column) -> str | None:
    """Return what makes a column look like an identity; None where nothing does."""
    if isinstance(column, NumberColumn) and (column.days or not _whole(column)):
        return None
    keys = column.keys
    keys = keys[keys >= 0]
    different, rows = len(torch.unique(keys)), len(keys)
    if rows < FEWEST_ROWS:
        return None
    kind = "whole numbers" if isinstance(column, NumberColumn) else "texts"
    if different == rows:
        return f"{different:,} different {kind} in {rows:,} rows look like identities"
    named = NAMED_IDENTITY.search(column.name) is not None
    if different > rows / 2 and (named or isinstance(column, LevelColumn)):
        what = "look like identities that stand several times" if named else "are no categories"
        return f"{different:,} different {kind} in {rows:,} rows {what}"
    return None


def constant(column: Column, train: Tensor) -> str | None:
    """Return what the training rows say of a column if they all say the same; None where they do not."""
    # Most columns are told by their first rows.
    if any(len(torch.unique(column.at(rows).keys)) > 1 for rows in (train[:FIRST_ROWS], train)):
        return None
    keys = column.at(train[:1]).keys
    if int(keys[0]) < 0:
        return "nothing"
    return repr(column.levels[int(keys[0])][:40] if isinstance(column, LevelColumn) else float(column.values[train[0]]))


def leak(column: Column, target: Tensor) -> str | None:
    """Return why a column may be the target itself: each of its values goes with one class; None where it may not.

    A missing cell is a value, too.
    """
    for rows in (torch.arange(len(target))[:FIRST_ROWS], torch.arange(len(target))):
        keys = column.at(rows).keys + 1
        different = len(torch.unique(keys))
        if len(torch.unique(keys * (int(target.max()) + 1) + target[rows])) > different:
            return None
    if different < 2 or len(keys) < OFTEN * different:
        return None
    return f"each of its {different} values goes with one class"


def _whole(column: NumberColumn) -> bool:
    values = column.values[~column.values.isnan()]
    return bool(torch.equal(values, values.round()))
