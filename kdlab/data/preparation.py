"""How inputs came from the values that a person knows, kept so that what is read speaks in those."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal

import torch
from torch import Tensor

# Numbers with more digits behind the point than these are not counted as written in decimals.
MOST_DECIMALS = 15
FIRST_ROWS = 1000


@dataclass(frozen=True)
class TableColumn:
    """One value of a table's input as a person knows it.

    Args:
        name: The column's own.
        level: The category that the value stands for, 1 where the cell says so and else 0; None for a number.
        decimals: Digits behind the point that suffice to write every value there is; None where that is not known.
    """

    name: str
    level: str | None = None
    decimals: int | None = None

    @property
    def feature_name(self) -> str:
        """``column``, or ``column=level``: unique within the table."""
        return self.name if self.level is None else f"{self.name}={self.level}"

    @property
    def words(self) -> str:
        """How a sentence says it: ``age``, ``colour is red``."""
        return self.name if self.level is None else f"{self.name} is {self.level}"


@dataclass(frozen=True, eq=False)
class Preparation:
    """How inputs came from the values that a person knows: ``float32((value - mean) / spread)``, value by value.

    It is kept by the data module (``DataModule.preparation``) and handed to every class that asks for it by a parameter
    of that name, so that rules, axes and pictures speak in the columns' own units.

    Args:
        mean: Of one input's shape, in the values' own type.
        spread: Of the same shape and type, > 0.
        columns: What each value of a table's input is; None where inputs are no table.
        channels: What the channels of an image or a series are called; None counts them.
    """

    mean: Tensor
    spread: Tensor
    columns: tuple[TableColumn, ...] | None = None
    channels: tuple[str, ...] | None = None

    @classmethod
    def none(cls, shape: Sequence[int], names: Sequence[str] | None = None) -> "Preparation":
        """Return the preparation of inputs that are read as they are."""
        plain = cls(torch.zeros(*shape), torch.ones(*shape))
        return plain if names is None else plain.called(names)

    @classmethod
    def standardising(
        cls, splits: dict[str, dict[str, Tensor]], columns: Sequence[TableColumn] | None = None
    ) -> "Preparation":
        """Return what brings inputs to mean 0 and standard deviation 1 with the *training* split's statistics.

        Images ``(N, channels, height, width)`` and series ``(N, channels, length)`` by channel, tables ``(N,
        features)`` by column. A constant column is only centred, a category's stays as it is.

        Args:
            splits: By split and name; ``inputs`` float.
            columns: What the values of a table are; their decimals are counted here, over all splits.
        """
        train = splits["train"]["inputs"]
        dims = [0, *range(2, train.ndim)]
        mean = train.mean(dims, keepdim=True, dtype=torch.float64).to(train.dtype)
        std = (train - mean).square().mean(dims, keepdim=True, dtype=torch.float64).sqrt().to(train.dtype)
        # Rounding leaves a constant column with a tiny spread, not with none.
        std = torch.where(std <= 1e-10 * mean.abs(), torch.ones_like(std), std)
        mean, std = mean[0].expand(train.shape[1:]), std[0].expand(train.shape[1:])
        if columns is None:
            return cls(mean, std)
        number = torch.tensor([column.level is None for column in columns])
        counted = tuple(
            replace(column, decimals=_decimals(torch.cat([tensors["inputs"][:, place] for tensors in splits.values()])))
            for place, column in enumerate(columns)
        )
        return cls(mean.where(number, 0.0), std.where(number, 1.0), counted)

    def __call__(self, values: Tensor) -> Tensor:
        """Return inputs (batch, ...), float32, of values (batch, ...) in their own units."""
        mean, spread = self.mean.to(values.device), self.spread.to(values.device)
        return ((values - mean) / spread).float()

    def applied(self, splits: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Return the splits with their ``inputs`` prepared."""
        return {split: dict(tensors, inputs=self(tensors["inputs"])) for split, tensors in splits.items()}

    def undone(self, inputs: Tensor) -> Tensor:
        """Return inputs (batch, ...) in their own units, but for the rounding of float32."""
        mean, spread = self.mean.to(inputs.device), self.spread.to(inputs.device)
        return inputs.to(mean.dtype) * spread + mean

    def to_unit(self, column: int, values: Tensor) -> Tensor:
        """Return values of one column of the flattened input in its own unit."""
        mean, spread = self._of(column)
        return values.to(mean.dtype) * spread.to(values.device) + mean.to(values.device)

    def name(self, column: int) -> str:
        """Return what a value of the flattened input is called: ``worst perimeter``, ``colour is red``, ``pixel 3,0``.

        A pixel is named by row and column, a step of a series by its place, both from 0.
        """
        if self.columns is not None:
            return self.columns[column].words
        channels, *sizes = self.mean.shape
        if not sizes:
            return f"feature {column}"
        channel, place = divmod(column, math.prod(sizes))
        word = f"pixel {place // sizes[1]},{place % sizes[1]}" if len(sizes) == 2 else f"step {place}"
        if self.channels is not None:
            return f"{word} of {self.channels[channel]}"
        return word if channels == 1 else f"{word} of channel {channel}"

    @property
    def groups(self) -> list[int] | None:
        """The number of the column that each value of a table's input comes from; None where inputs are no table.

        What comes from one column, such as the levels of a category, belongs together: one player, one bar.
        """
        if self.columns is None:
            return None
        numbers = {name: number for number, name in enumerate(dict.fromkeys(column.name for column in self.columns))}
        return [numbers[column.name] for column in self.columns]

    def is_level(self, column: int) -> bool:
        """Return whether a value of the flattened input says whether a category holds."""
        return self.columns is not None and self.columns[column].level is not None

    def called(self, names: Sequence[str]) -> "Preparation":
        """Return the same with names of each value, or of each channel of images and series.

        A column that it calls so itself (``colour=red``) stays a category.
        """
        if self.mean.dim() > 1 and len(names) == len(self.mean):
            return replace(self, channels=tuple(names))
        own = self.columns or [TableColumn("")] * len(names)
        columns = (
            column if column.feature_name == name else replace(column, name=name, level=None)
            for column, name in zip(own, names, strict=True)
        )
        return replace(self, columns=tuple(columns))

    def at_most(self, column: int, bound: float) -> str:
        """Return the shortest decimal number that parts a column's own values as ``prepared value <= bound`` does.

        Exact for every value that is written with the column's decimals, and for every floating point number where
        these are not known: preparing keeps the order of values, so that there is a last one below the bound.
        """
        mean, spread = self._of(column)
        decimals = None if self.columns is None else self.columns[column].decimals

        def below(value: float) -> bool:
            prepared = ((torch.tensor(value, dtype=mean.dtype) - mean) / spread).float()
            return float(prepared) <= bound

        guess = bound * float(spread) + float(mean)
        if decimals is None:
            return _shortest(*_neighbours(below, guess, float(spread), mean.dtype))
        number = _last(lambda grid: below(float(_at(grid, decimals))), int(Decimal(guess).scaleb(decimals)))
        return _shortest(_at(number, decimals), _at(number + 1, decimals))

    def _of(self, column: int) -> tuple[Tensor, Tensor]:
        return self.mean.flatten()[column], self.spread.flatten()[column]


def _decimals(values: Tensor) -> int | None:
    """Return how many digits behind the point write all of a column's values (rows,); None if there are too many."""
    first = values[:FIRST_ROWS].double()
    for digits in range(MOST_DECIMALS + 1):
        # Most columns are told by their first rows: where those have more digits, the others are not looked at.
        if _are_written(first, digits) and _are_written(values.double(), digits):
            return digits
    return None


def _are_written(values: Tensor, digits: int) -> bool:
    scaled = (values * 10**digits).round()
    # The quotient is the very number that is read from so many decimals.
    return bool(((scaled / 10**digits == values) & (scaled.abs() < 2**53)).all())


def _at(number: int, decimals: int) -> Decimal:
    return Decimal(number).scaleb(-decimals)


def _last(below: Callable[[int], bool], guess: int) -> int:
    """Return the largest whole number that is below, where all below it are and all above are not."""
    step = 1
    low, high = guess, guess + 1
    while not below(low):
        low, high, step = low - step, low, 2 * step
    while below(high):
        low, high, step = high, high + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return low


def _neighbours(
    below: Callable[[float], bool], guess: float, spread: float, kind: torch.dtype
) -> tuple[Decimal, Decimal]:
    """Return the last floating point number of a type that is below, and the next one."""
    unit = torch.finfo(kind).eps * max(abs(guess), spread)
    steps = _last(lambda number: below(guess + number * unit), 0)
    low, high = guess + steps * unit, guess + (steps + 1) * unit
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if below(middle) else (low, middle)
    last = torch.tensor(low, dtype=kind)
    return Decimal(last.item()), Decimal(torch.nextafter(last, last.new_tensor(torch.inf)).item())


def _shortest(low: Decimal, high: Decimal) -> str:
    """Return the decimal number of fewest digits that is at least ``low`` and less than ``high``."""
    digits = -low.adjusted() - 1 if low else 0
    while not low <= (rounded := low.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_CEILING)) < high:
        digits += 1
    # Without the sign that a number keeps when it is rounded to 0.
    return f"{rounded + 0:f}"
