"""Sparseness of an attribution by the Gini index."""

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.numerics import rows


def gini(attributions: Tensor) -> Tensor:
    """Return ``sum_i (2 i - n - 1) b_i / (n sum_i b_i)``, b the sorted |a|: (batch,), NaN where all are zero.

    Args:
        attributions: (batch, ...), n values a sample. The index lies in [0, 1 - 1/n].
    """
    sizes = rows(attributions).abs().sort(dim=1).values
    count = sizes.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=sizes.device, dtype=sizes.dtype) - count - 1
    return (sizes * weights).sum(dim=1) / (count * sizes.sum(dim=1))


class Gini(PerSample):
    """Gini index of the absolute attributions: [0, 1), higher is sparser, a few features carry it all.

    NaN for an attribution that is zero everywhere. Chalasani et al. 2020, https://arxiv.org/abs/1810.06583.
    """

    higher_is_better = True

    def update(self, attributions: Tensor) -> None:
        """Take in attributions, (batch, ...)."""
        self.add(gini(attributions))
