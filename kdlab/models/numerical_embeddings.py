"""Vectors for the numbers of a table, by which a net bends each column by itself before columns meet.

A class of embeddings describes them, and makes the layers when the number of columns is known; kdlab's own and a user's
are any object with ``layers(inputs)``.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import pi
from statistics import NormalDist
from typing import Protocol

import torch
from torch import Tensor, nn


class NumericalEmbedding(Protocol):
    """Describes layers that give each number of an input a vector."""

    @property
    def width(self) -> int:
        """Size of a number's vector."""
        ...

    def layers(self, inputs: int) -> nn.Module:
        """Return layers from (batch, inputs) to (batch, inputs, width)."""
        ...


class PeriodicEmbedding:
    """Sines and cosines of each number at trained frequencies, then a linear layer of its own, and ReLU.

    ``ReLU(W [sin(2 pi c x), cos(2 pi c x)] + b)`` with own c, W and b for each column, c drawn from N(0, scale^2):
    Gorishniy et al. 2022, section 3.3, https://arxiv.org/abs/2203.05556 (their PLR).

    Args:
        width: Size of a number's vector.
        frequencies: How many c a column has.
        scale: Standard deviation of the c at the start, in turns for each standard deviation of a standardised column,
            > 0. It matters; the paper searches 0.01 to 100.

    Raises:
        ValueError: If a size or the scale is not positive.
    """

    def __init__(self, width: int = 24, frequencies: int = 48, scale: float = 0.1) -> None:
        if min(width, frequencies) < 1 or scale <= 0:
            raise ValueError(
                f"sizes and scale must be positive, got width={width}, frequencies={frequencies}, scale={scale}"
            )
        self.width, self.frequencies, self.scale = width, frequencies, scale

    def layers(self, inputs: int) -> nn.Module:
        """Return layers from (batch, inputs) to (batch, inputs, width): ``waves``, ``linear``, ``relu``."""
        waves = _Waves(inputs, self.frequencies, self.scale)
        return nn.Sequential(
            OrderedDict(waves=waves, linear=_LinearOfEach(inputs, 2 * self.frequencies, self.width), relu=nn.ReLU())
        )


class PiecewiseLinearEmbedding:
    """How far each number has come through each bin, then a linear layer of its own, and ReLU.

    Bin t from ``b_t`` to ``b_(t+1)`` gives ``(x - b_t) / (b_(t+1) - b_t)``, at least 0 but in the first bin and at most
    1 but in the last: Gorishniy et al. 2022, section 3.2, equation 1, https://arxiv.org/abs/2203.05556 (their LR over
    bins). They take the training data's quantiles as edges. A model does not see the data when it is built: without
    ``edges`` it takes the standard normal's quantiles at ``(t + 1/2) / (bins + 1)``, for every column, which fits
    standardised columns.

    Args:
        width: Size of a number's vector.
        bins: How many a column has, unless edges are given.
        edges: Of each column, in the inputs' unit, rising, as many for each: ``torch.quantile(inputs, torch.linspace(0,
            1, bins + 1), dim=0).T.tolist()`` where no two are equal.

    Raises:
        ValueError: If a size is not positive, or edges do not rise or differ in number.
    """

    def __init__(self, width: int = 24, bins: int = 16, edges: Sequence[Sequence[float]] | None = None) -> None:
        if min(width, bins) < 1:
            raise ValueError(f"sizes must be positive, got width={width}, bins={bins}")
        self.width = width
        normal = [NormalDist().inv_cdf((number + 0.5) / (bins + 1)) for number in range(bins + 1)]
        self.common = edges is None
        self.edges = [normal] if edges is None else [list(column) for column in edges]
        for number, column in enumerate(self.edges):
            rising = all(low < high for low, high in pairwise(column))
            if len(column) < 2 or len(column) != len(self.edges[0]) or not rising:
                raise ValueError(
                    f"edges of a column must rise, be at least 2 and as many for each, got {column[:8]} for column"
                    f" {number}"
                )

    def layers(self, inputs: int) -> nn.Module:
        """Return layers from (batch, inputs) to (batch, inputs, width): ``bins``, ``linear``, ``relu``.

        Raises:
            ValueError: If edges were given for another number of columns.
        """
        edges = self.edges * inputs if self.common else self.edges
        if len(edges) != inputs:
            raise ValueError(f"edges must be given for each of {inputs} inputs, got those of {len(edges)}")
        bins = _Bins(torch.tensor(edges))
        return nn.Sequential(
            OrderedDict(bins=bins, linear=_LinearOfEach(inputs, len(edges[0]) - 1, self.width), relu=nn.ReLU())
        )


class _Waves(nn.Module):
    """Sines and cosines: (batch, inputs) to (batch, inputs, 2 * frequencies)."""

    def __init__(self, inputs: int, frequencies: int, scale: float) -> None:
        super().__init__()
        self.frequency = nn.Parameter(scale * torch.randn(inputs, frequencies))

    def forward(self, numbers: Tensor) -> Tensor:
        """Return all sines, then all cosines, of each number."""
        angles = 2 * pi * self.frequency * numbers.unsqueeze(2)
        return torch.cat([angles.sin(), angles.cos()], dim=2)


class _Bins(nn.Module):
    """Shares of bins that lie behind a number: (batch, inputs) to (batch, inputs, bins)."""

    edges: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, edges: Tensor) -> None:
        super().__init__()
        least, most = torch.zeros(edges.shape[1] - 1), torch.ones(edges.shape[1] - 1)
        least[0], most[-1] = -torch.inf, torch.inf
        self.register_buffer("edges", edges)
        self.register_buffer("least", least, persistent=False)
        self.register_buffer("most", most, persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """Return the shares, outside [0, 1] before the first edge and behind the last alone."""
        low, high = self.edges[:, :-1], self.edges[:, 1:]
        shares = (numbers.unsqueeze(2) - low) / (high - low)
        return shares.clamp(self.least, self.most)


class _LinearOfEach(nn.Module):
    """A linear layer for each number: (batch, inputs, before) to (batch, inputs, after)."""

    def __init__(self, inputs: int, before: int, after: int) -> None:
        super().__init__()
        bound = before**-0.5
        self.weight = nn.Parameter(torch.empty(inputs, before, after).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(inputs, after).uniform_(-bound, bound))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the vectors of each number after its own layer."""
        return torch.einsum("nib,iba->nia", vectors, self.weight) + self.bias
