"""Combining several teachers into one: from logits (teachers, batch, classes) to logits (batch, classes)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32


class Combination(nn.Module, ABC):
    """Base class of a weighted mean over teachers; each subclass decides what is averaged.

    Args:
        weights: One for each teacher, >= 0, in the order in which the teachers are named; only their ratios count. None
            weights all teachers equally.

    Raises:
        ValueError: If a weight is negative or all are zero; when called, if there is not one weight for each teacher.
    """

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if weights is not None and (min(weights, default=0.0) < 0 or sum(weights) <= 0):
            raise ValueError(f"weights of teachers must not be negative, and not all zero, got {list(weights)}")
        self.weights = None if weights is None else list(weights)

    @abstractmethod
    def forward(self, logits: Tensor) -> Tensor:
        """Return logits (batch, classes) from (teachers, batch, classes)."""

    def shares(self, logits: Tensor) -> Tensor:
        """Return each teacher's share (teachers, 1, 1); the shares sum to 1."""
        weights = [1.0] * len(logits) if self.weights is None else self.weights
        if len(weights) != len(logits):
            raise ValueError(f"{len(weights)} weights for {len(logits)} teachers; give one for each, in their order")
        return logits.new_tensor([weight / sum(weights) for weight in weights])[:, None, None]


class MeanOfLogits(Combination):
    """``sum_i w_i z_i``: a geometric mean of the distributions. A teacher that rules out a class rules it out for all.

    This is the default for several teachers (as in TextBrewer).

    Args:
        weights: One for each teacher, >= 0, in the order in which the teachers are named; only their ratios count. None
            weights all teachers equally.

    Raises:
        ValueError: If a weight is negative or all are zero; when called, if there is not one weight for each teacher.
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Return logits (batch, classes) from (teachers, batch, classes)."""
        return logits.mean(dim=0) if self.weights is None else (self.shares(logits) * logits).sum(dim=0)


class MeanOfProbabilities(Combination):
    """``log sum_i w_i softmax(z_i)``: the logarithm of the mean of the distributions at temperature 1.

    This is what a deep ensemble predicts. A loss with a temperature softens the mean and not the single distributions.
    Stanton et al. 2021, https://arxiv.org/abs/2106.05945.

    Args:
        weights: One for each teacher, >= 0, in the order in which the teachers are named; only their ratios count. None
            weights all teachers equally.

    Raises:
        ValueError: If a weight is negative or all are zero; when called, if there is not one weight for each teacher.
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Return log-probabilities (batch, classes) from (teachers, batch, classes)."""
        logarithms = at_least_float32(logits).log_softmax(dim=2)
        return torch.logsumexp(logarithms + self.shares(logarithms).log(), dim=0)
