"""Complexity of an attribution: the entropy of its shares."""

import math

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.numerics import rows


def entropy(attributions: Tensor, normalised: bool = False) -> Tensor:
    """Return ``-sum_i p_i log p_i``, ``p_i = |a_i| / sum_j |a_j|``, in nats: (batch,), NaN where all are zero.

    Args:
        attributions: (batch, ...), n values a sample.
        normalised: Divide by log n, so that inputs of any size compare; NaN for a single feature.
    """
    sizes = rows(attributions).abs()
    shares = sizes / sizes.sum(dim=1, keepdim=True)
    value = -torch.xlogy(shares, shares).sum(dim=1)
    if not normalised:
        return value
    return value / math.log(sizes.shape[1]) if sizes.shape[1] > 1 else torch.full_like(value, torch.nan)


class Entropy(PerSample):
    """Entropy of the absolute attributions' shares: [0, log n] nats, or [0, 1] normalised; lower is simpler.

    NaN for an attribution that is zero everywhere. Bhatt et al. 2020, "complexity", https://arxiv.org/abs/2005.00631.

    Args:
        normalised: Divide by log n, so that inputs of any size compare.
    """

    higher_is_better = False

    def __init__(self, normalised: bool = False) -> None:
        super().__init__()
        self.normalised = normalised

    def update(self, attributions: Tensor) -> None:
        """Take in attributions, (batch, ...)."""
        self.add(entropy(attributions, self.normalised))
