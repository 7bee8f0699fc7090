"""Localisation: does an attribution lie where a mask says that the evidence is.

The attribution is taken as it is shown to a person, a slope as a slope.
"""

import torch
from torch import Tensor

from kdlab.metrics.attribution_agreement import speaks
from kdlab.metrics.base import PerSample
from kdlab.metrics.numerics import rows
from kdlab.metrics.ties import top_of


def expand_mask(mask: Tensor, attributions: Tensor) -> Tensor:
    """Return the mask as (batch, features) bool, True inside.

    Args:
        mask: The attributions' shape, or one that broadcasts to it; for images (batch, channels, height, width) also
            (batch, height, width). Whatever is not zero is inside.
        attributions: (batch, ...).

    Raises:
        ValueError: If the mask has another shape.
    """
    shape = attributions.shape
    if mask.dim() == 3 and len(shape) == 4 and mask.shape == (shape[0], *shape[2:]):
        mask = mask.unsqueeze(1)
    fits = mask.dim() == len(shape) and mask.shape[0] == shape[0]
    if not fits or any(own not in (1, size) for own, size in zip(mask.shape, shape, strict=True)):
        raise ValueError(f"mask {tuple(mask.shape)} does not fit attributions {tuple(shape)}")
    return (mask != 0).expand(shape).flatten(1)


def _relevance(attributions: Tensor, absolute: bool) -> Tensor:
    values = rows(attributions)
    return values.abs() if absolute else values.clamp(min=0)


def relevance_mass_accuracy(attributions: Tensor, mask: Tensor, absolute: bool = True) -> Tensor:
    """Return ``sum_{i in mask} r_i / sum_i r_i``: (batch,), NaN where the mask is empty or the sum below is 0.

    Args:
        attributions: (batch, ...).
        mask: See ``expand_mask``.
        absolute: r is ``|a|``; else the positive part of a.
    """
    inside, relevance = expand_mask(mask, attributions), _relevance(attributions, absolute)
    share = (relevance * inside).sum(dim=1) / relevance.sum(dim=1)
    return share.masked_fill(~inside.any(dim=1), torch.nan)


def relevance_rank_accuracy(attributions: Tensor, mask: Tensor, absolute: bool = True) -> Tensor:
    """Return the expected share of the mask's K features that the K most relevant ones fill: (batch,).

    ``sum_{i in mask} P(i among the top K) / K``, over all orders of equal relevances; only what is above 0 can be among
    the top. NaN where the mask is empty or there is no relevance.

    Args:
        attributions: (batch, ...).
        mask: See ``expand_mask``.
        absolute: Relevance is ``|a|``; else the positive part of a.
    """
    inside, relevance = expand_mask(mask, attributions), _relevance(attributions, absolute)
    size = inside.sum(dim=1)
    accuracy = (top_of(relevance, size).chance() * inside).sum(dim=1) / size
    return accuracy.to(relevance.dtype).masked_fill(~speaks(relevance), torch.nan)


def pointing_game(attributions: Tensor, mask: Tensor, absolute: bool = True) -> Tensor:
    """Return 1 where the most relevant feature lies inside, else 0; of several most relevant ones the share: (batch,).

    NaN where the mask is empty or there is no relevance.

    Args:
        attributions: (batch, ...).
        mask: See ``expand_mask``.
        absolute: Relevance is ``|a|``; else the positive part of a.
    """
    inside, relevance = expand_mask(mask, attributions), _relevance(attributions, absolute)
    best = relevance == relevance.amax(dim=1, keepdim=True)
    hit = (best & inside).sum(dim=1) / best.sum(dim=1)
    return hit.to(relevance.dtype).masked_fill(~(speaks(relevance) & inside.any(dim=1)), torch.nan)


class RelevanceMassAccuracy(PerSample):
    """Share of the relevance that lies inside the mask: [0, 1], higher is better.

    A random attribution scores the mask's share of the input. NaN where the mask is empty or there is no relevance.
    Arras et al. 2022, "relevance mass accuracy", https://arxiv.org/abs/2003.07258.

    Args:
        absolute: Relevance is ``|a|``; else the positive part of a. Signed sums would leave [0, 1].
    """

    higher_is_better = True

    def __init__(self, absolute: bool = True) -> None:
        super().__init__()
        self.absolute = absolute

    def update(self, attributions: Tensor, mask: Tensor) -> None:
        """Take in attributions (batch, ...) and masks that broadcast to them. Raises ValueError if they do not."""
        self.add(relevance_mass_accuracy(attributions, mask, self.absolute))


class RelevanceRankAccuracy(RelevanceMassAccuracy):
    """Share of a mask's K features that the K most relevant ones fill: [0, 1], higher is better.

    Only what has relevance can be among the top, so that an attribution of fewer than K features cannot score 1; of
    equal relevances the expected value over all orders. A random attribution scores the mask's share of its support.
    NaN where the mask is empty or there is no relevance. Arras et al. 2022, "relevance rank accuracy",
    https://arxiv.org/abs/2003.07258.

    Args:
        absolute: Relevance is ``|a|``; else the positive part of a.
    """

    def update(self, attributions: Tensor, mask: Tensor) -> None:
        """Take in attributions (batch, ...) and masks that broadcast to them. Raises ValueError if they do not."""
        self.add(relevance_rank_accuracy(attributions, mask, self.absolute))


class PointingGame(RelevanceMassAccuracy):
    """Share of samples whose most relevant feature lies inside the mask: [0, 1], higher is better.

    Where several are equal, a sample scores the share of them that lies inside. NaN where the mask is empty or there is
    no relevance. Zhang et al. 2018, "pointing game", https://arxiv.org/abs/1608.00507; here without a margin around the
    mask.

    Args:
        absolute: Relevance is ``|a|``; else the positive part of a.
    """

    def update(self, attributions: Tensor, mask: Tensor) -> None:
        """Take in attributions (batch, ...) and masks that broadcast to them. Raises ValueError if they do not."""
        self.add(pointing_game(attributions, mask, self.absolute))
