"""How samples correlate, under a kernel."""

import math

import torch
from torch import Tensor, nn

from kdlab.losses.numerics import Features, norm, unit
from kdlab.losses.relations.embeddings import related


class Bilinear(nn.Module):
    """The kernel ``x . y`` between samples."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (batch, batch) from (batch, width)."""
        return vectors @ vectors.T


class TaylorGaussian(nn.Module):
    """The kernel ``exp(-gamma ||x - y||^2)`` of vectors of length 1, by its Taylor series.

    ``exp(-2 gamma) sum_{p <= order} (2 gamma)^p / p! (x . y)^p``, where x and y are divided by their lengths. Peng et
    al. 2019, Gaussian kernel, https://arxiv.org/abs/1904.01802.

    Args:
        gamma: Sharpness, no unit, > 0.
        order: Last power, >= 1.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, gamma: float = 0.4, order: int = 2) -> None:
        super().__init__()
        if not gamma > 0 or order < 1:
            raise ValueError(f"gamma and order must be positive, got {gamma} and {order}")
        self.gamma = gamma
        self.order = order

    def forward(self, vectors: Tensor) -> Tensor:
        """Return (batch, batch) from (batch, width)."""
        directions = unit(vectors)
        inner = directions @ directions.T
        powers = [(2 * self.gamma) ** p / math.factorial(p) * inner**p for p in range(self.order + 1)]
        return math.exp(-2 * self.gamma) * torch.stack(powers).sum(0)


class CorrelationCongruence(nn.Module):
    """Length of the difference between the samples' kernel matrices: lower is better, minimum 0.

    ``||K_s - K_t|| / batch^2``, the Frobenius norm and not its square, of flattened layers, summed over the layer
    pairs. Peng et al. 2019, correlation congruence, https://arxiv.org/abs/1904.01802 (squared there). The batch is
    that of all processes. Usual weight: 0.02 to 1.

    Args:
        kernel: A module from (batch, width) to (batch, batch).

    Raises:
        ValueError: When called, if the batches differ, also between processes.
    """

    def __init__(self, kernel: nn.Module = TaylorGaussian()) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, ...), whose widths may differ."""
        return related(features, teacher_features, self.distance)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the value of one pair of embeddings (batch, width)."""
        difference = self.kernel(student) - self.kernel(teacher)
        return norm(difference.flatten(), dim=0) / len(difference) ** 2
