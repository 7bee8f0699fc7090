"""Weights that change over the epochs. A factor depends on the epoch alone, so a resumed training needs no state."""

from collections.abc import Sequence
from math import cos, pi, prod
from typing import Protocol


class Schedule(Protocol):
    """A factor on a weight, without unit and >= 0, that depends on the epoch, counted from 0."""

    def factor(self, epoch: int) -> float:
        """Return the number by which the weight is multiplied during this epoch."""
        ...


class _Rise:
    """The common part of all rises: the share of the rise that is done, in (0, 1]."""

    def __init__(self, epochs: int, start: float = 0.0) -> None:
        self.epochs, self.start = _checked(epochs, start)

    def passed(self, epoch: int) -> float:
        """Return the share of the rise that is done at the end of this epoch."""
        return min((epoch + 1) / self.epochs, 1.0)


class _Fall:
    """The common part of all falls: the share of the fall that is done, in [0, 1]."""

    def __init__(self, epochs: int, end: float = 0.0, after: int = 0) -> None:
        (self.epochs, self.end), self.after = _checked(epochs, end), _not_negative(after)

    def passed(self, epoch: int) -> float:
        """Return the share of the fall that is done at the start of this epoch."""
        return min(max(epoch - self.after, 0) / self.epochs, 1.0)


class LinearWarmUp(_Rise):
    """Rise in equal steps: ``start + (1 - start) * min((epoch + 1) / epochs, 1)``.

    With ``start`` 0 the first epoch has ``1 / epochs`` and the last of the warm-up 1, as decoupled distillation (Zhao
    et al. 2022, 20 epochs) and ReviewKD (Chen et al. 2021, 20 epochs) do it.

    Args:
        epochs: Length of the rise, >= 1.
        start: Where it comes from, in [0, 1].

    Raises:
        ValueError: If an argument is out of range.
    """

    def factor(self, epoch: int) -> float:
        """Return the factor, in (start, 1]."""
        return self.start + (1 - self.start) * self.passed(epoch)


class CosineWarmUp(_Rise):
    """Rise slowly, then fast, then slowly: ``start + (1 - start) * (1 - cos(pi * min((epoch + 1) / epochs, 1))) / 2``.

    Args:
        epochs: Length of the rise, >= 1.
        start: Where it comes from, in [0, 1].

    Raises:
        ValueError: If an argument is out of range.
    """

    def factor(self, epoch: int) -> float:
        """Return the factor, in (start, 1]."""
        return self.start + (1 - self.start) * (1 - cos(pi * self.passed(epoch))) / 2


class LinearDecay(_Fall):
    """Fall in equal steps: ``1 - (1 - end) * min(max(epoch - after, 0) / epochs, 1)``.

    Args:
        epochs: Length of the fall, >= 1.
        end: Where it ends, in [0, 1].
        after: The last epoch with factor 1, >= 0.

    Raises:
        ValueError: If an argument is out of range.
    """

    def factor(self, epoch: int) -> float:
        """Return the factor, in [end, 1]."""
        return 1 - (1 - self.end) * self.passed(epoch)


class CosineDecay(_Fall):
    """Fall slowly, then fast, then slowly: ``end + (1 - end) * (1 + cos(pi * t)) / 2``, t as in ``LinearDecay``.

    Args:
        epochs: Length of the fall, >= 1.
        end: Where it ends, in [0, 1].
        after: The last epoch with factor 1, >= 0.

    Raises:
        ValueError: If an argument is out of range.
    """

    def factor(self, epoch: int) -> float:
        """Return the factor, in [end, 1]."""
        return self.end + (1 - self.end) * (1 + cos(pi * self.passed(epoch))) / 2


class Steps:
    """Jump at given epochs: the factor is ``by`` to the power of the number of milestones reached.

    Args:
        milestones: Epochs, counted from 0; at each, the next power begins to hold.
        by: Factor of one step, >= 0.

    Raises:
        ValueError: If an argument is negative.
    """

    def __init__(self, milestones: Sequence[int], by: float = 0.1) -> None:
        if by < 0 or any(milestone < 0 for milestone in milestones):
            raise ValueError(f"milestones and by must not be negative, got {list(milestones)} and {by}")
        self.milestones, self.by = list(milestones), by

    def factor(self, epoch: int) -> float:
        """Return the factor, >= 0."""
        return float(self.by ** sum(milestone <= epoch for milestone in self.milestones))


class Product:
    """The product of several schedules, such as a warm-up and a later decay.

    Args:
        schedules: The schedules whose factors are multiplied.
    """

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        self.schedules = list(schedules)

    def factor(self, epoch: int) -> float:
        """Return the product of the factors."""
        return prod(schedule.factor(epoch) for schedule in self.schedules)


def _checked(epochs: int, level: float) -> tuple[int, float]:
    if epochs < 1 or not 0 <= level <= 1:
        raise ValueError(f"epochs must be at least 1 and the other end in [0, 1], got {epochs} and {level}")
    return epochs, level


def _not_negative(after: int) -> int:
    if after < 0:
        raise ValueError(f"after must not be negative, got {after}")
    return after
