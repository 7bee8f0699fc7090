"""Who says which rows of a table are for training, validation and test: a column, files, or a draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlab.data.splitting import sizes_of
from kdlab.data.tabular.cells import Cells
from kdlab.data.tabular.columns import levels_of
from kdlab.data.tabular.rows import Fractions, completed, limited, named, refuse_shared_groups


@dataclass(frozen=True)
class RowSplits:
    """How the rows are split.

    Args:
        column: It says train, val and test. Rows for val are drawn from train if it names none. None: the files say it
            where there are several, else all rows are drawn at random, stratified.
        fractions: Train, val and test shares where rows are drawn.
        seed: Draws.
        group: A column that says whom a row belongs to, never in two splits.
        limit: Only so many rows are kept, over all splits.
        files: The split that each of several files is; rows for val are drawn from train if none is.

    Raises:
        ValueError: For fractions that are not positive or do not add up to 1.
    """

    column: str | None
    fractions: Fractions
    seed: int
    group: str | None = None
    limit: int | None = None
    files: Sequence[str] = ("train",)

    def __post_init__(self) -> None:
        sizes_of(1, self.fractions)

    def __call__(self, cells: Cells, target: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the rows of each split, and ``groups`` (rows,) of all rows where there are any.

        Raises:
            ValueError: If a cell is missing that says it, a split would be empty, or a group has rows in two.
        """
        whom = None if self.group is None else levels_of(self.group, cells.complete(self.group))
        groups = None if whom is None else whom.codes
        rows = completed(self._said(cells), target, self.fractions, self.seed, groups)
        if whom is not None:
            refuse_shared_groups(f"column {whom.name!r}", whom.levels, whom.codes, rows)
        if self.limit is not None:
            rows = limited(rows, target, self.limit, self.seed)
        return rows, {} if groups is None else {"groups": groups}

    def _said(self, cells: Cells) -> dict[str, Tensor]:
        """The rows of the splits that a column or files name."""
        if self.column is not None:
            return named(f"column {self.column!r}", cells.complete(self.column).to_pylist())
        if len(self.files) < 2:
            return {}
        rows, first = {}, 0
        for split, (_, count) in zip(self.files, cells.files, strict=True):
            rows[split], first = torch.arange(first, first + count), first + count
        return rows


def names_of(cells: Cells, column: str, rows: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return what a column calls the rows of each split.

    Raises:
        ValueError: If a cell is missing.
    """
    names = cells.complete(column).to_pylist()
    return {split: [names[row] for row in chosen.tolist()] for split, chosen in rows.items()}
