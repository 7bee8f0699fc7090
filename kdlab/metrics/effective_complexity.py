"""Effective complexity: how many features an attribution really uses."""

import torch
from torch import Tensor

from kdlab.metrics.attribution_agreement import speaks
from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_share
from kdlab.metrics.numerics import rows


def effective_complexity(attributions: Tensor, threshold: float = 0.05) -> Tensor:
    """Return the number of features with ``|a_i| > threshold max_j |a_j|``: (batch,), NaN where all are zero.

    Args:
        attributions: (batch, ...).
        threshold: As a part of the sample's own largest value, so that no neighbour in the batch counts.
    """
    sizes = rows(attributions).abs()
    largest = sizes.amax(dim=1, keepdim=True)
    count = (sizes > threshold * largest).sum(dim=1).to(sizes.dtype)
    return count.masked_fill(~speaks(attributions), torch.nan)


class EffectiveComplexity(PerSample):
    """Number of features whose attribution is more than a share of the sample's largest: >= 1, lower is simpler.

    NaN for an attribution that is zero everywhere. After Nguyen and Martinez 2020, "effective complexity",
    https://arxiv.org/abs/2007.07584, with a threshold of the sample's own.

    Args:
        threshold: The share, in (0, 1].

    Raises:
        ValueError: If the threshold is not in (0, 1].
    """

    higher_is_better = False

    def __init__(self, threshold: float = 0.05) -> None:
        super().__init__()
        check_share(threshold=threshold)
        self.threshold = threshold

    def update(self, attributions: Tensor) -> None:
        """Take in attributions, (batch, ...)."""
        self.add(effective_complexity(attributions, self.threshold))
