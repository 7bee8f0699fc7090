"""In which order features are removed or added: by relevance, where equal ones have none."""

from typing import NamedTuple

import torch
from torch import Tensor

from kdlab.metrics.ties import places


def units_of(shape: torch.Size, patch: int | None) -> Tensor | None:
    """Return which unit each feature belongs to: (features,), or None where every feature is its own.

    Args:
        shape: Shape of one input.
        patch: None for single features. For images (channels, height, width): a unit is a square of so many pixels a
            side, all channels of it; squares at the right and lower edge may be smaller.

    Raises:
        ValueError: If there is a patch and the input is no image.
    """
    if patch is None:
        return None
    if len(shape) != 3:
        raise ValueError(f"patch needs images (batch, channels, height, width); one input is {tuple(shape)}")
    channels, height, width = shape
    down, right = torch.arange(height) // patch, torch.arange(width) // patch
    squares = down[:, None] * (-(-width // patch)) + right[None, :]
    return squares.expand(channels, height, width).reshape(-1)


class Order(NamedTuple):
    """In which order the units of each sample go, the most relevant first; equal ones have no order.

    Attributes:
        before: (batch, features), how many units are more relevant than the feature's own.
        equal: (batch, features), how many units are as relevant as its own, itself included.
        known: (batch,) bool, whether the attribution says an order: finite, and not the same for all of several units.
        units: How many units there are.
        sorted_before: (batch, units), ``before`` of the units, the most relevant first.
        sorted_equal: (batch, units), likewise.
    """

    before: Tensor
    equal: Tensor
    known: Tensor
    units: int
    sorted_before: Tensor
    sorted_equal: Tensor

    def brackets(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest numbers of units that can go without parting equal ones: (batch, points) each.

        Args:
            counts: (points,), how many should go. Both numbers are this one where no equal ones are parted.
        """
        counts = counts.to(self.sorted_before).expand(self.sorted_before.shape[0], -1)
        place = counts.clamp(max=self.units - 1)
        low, size = self.sorted_before.gather(1, place), self.sorted_equal.gather(1, place)
        parts = (counts < self.units) & (low < counts)
        return torch.where(parts, low, counts), torch.where(parts, low + size, counts)


def relevance_of(contributions: Tensor, units: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the relevance of each unit, (batch, units), and for which samples it says an order, (batch,) bool.

    Args:
        contributions: (batch, features).
        units: From ``units_of``; a unit's relevance is the sum over its features. Rows that are not finite get zeros.
    """
    relevance = contributions
    if units is not None:
        units = units.to(relevance.device)
        count = int(units.max()) + 1
        relevance = relevance.new_zeros(relevance.shape[0], count).index_add_(1, units, relevance)
    ordered = relevance.isfinite().all(dim=1)
    relevance = torch.where(ordered.unsqueeze(1), relevance, 0)
    if relevance.shape[1] > 1:
        ordered = ordered & (relevance.amax(dim=1) > relevance.amin(dim=1))
    return relevance, ordered


def order(contributions: Tensor, units: Tensor | None = None) -> Order:
    """Order the features of each row of (batch, features) by their unit's relevance. See ``relevance_of``."""
    relevance, ordered = relevance_of(contributions, units)
    before, equal = places(relevance)
    first = before.argsort(dim=1)
    sorted_before, sorted_equal = before.gather(1, first), equal.gather(1, first)
    before, equal = (values if units is None else values[:, units] for values in (before, equal))
    return Order(before.to(torch.int32), equal, ordered, relevance.shape[1], sorted_before, sorted_equal)
