"""Localisation: does an attribution lie where a mask says that the evidence is."""

import torch
from torch import Tensor

from kdlab.metrics.attribution_agreement import speaks
from kdlab.metrics.base import PerSample
from kdlab.metrics.numerics import rows


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
    if not fits or any(own not in (1, wanted) for own, wanted in zip(mask.shape, shape, strict=True)):
        raise ValueError(f"mask {tuple(mask.shape)} does not fit attributions {tuple(shape)}")
    return (mask != 0).expand(shape).flatten(1)


def relevance_mass_accuracy(attributions: Tensor, mask: Tensor, absolute: bool = True) -> Tensor:
    """Return ``sum_{i in mask} r_i / sum_i r_i``: (batch,), NaN where the mask is empty or the sum below is 0.

    Args:
        attributions: (batch, ...).
        mask: See ``expand_mask``.
        absolute: r is ``|a|``; else the positive part of a.
    """
    inside, values = expand_mask(mask, attributions), rows(attributions)
    relevance = values.abs() if absolute else values.clamp(min=0)
    share = (relevance * inside).sum(dim=1) / relevance.sum(dim=1)
    return share.masked_fill(~inside.any(dim=1), torch.nan)


def relevance_rank_accuracy(attributions: Tensor, mask: Tensor, absolute: bool = True) -> Tensor:
    """Return the share of the K most relevant features that lie inside, K the mask's size: (batch,).

    NaN where the mask is empty or the attribution zero everywhere. Ties go by position.

    Args:
        attributions: (batch, ...).
        mask: See ``expand_mask``.
        absolute: By ``|a|``; else by signed a.
    """
    inside, values = expand_mask(mask, attributions), rows(attributions)
    size = inside.sum(dim=1, keepdim=True)
    best = (values.abs() if absolute else values).argsort(dim=1, descending=True, stable=True)
    places = torch.arange(values.shape[1], device=values.device)
    found = (inside.gather(1, best) & (places < size)).sum(dim=1) / size.squeeze(1)
    return found.masked_fill(~speaks(attributions), torch.nan)


def pointing_game(attributions: Tensor, mask: Tensor, absolute: bool = True) -> Tensor:
    """Return 1 where the most relevant feature lies inside, else 0: (batch,).

    NaN where the mask is empty or the attribution zero everywhere. Ties go by position.

    Args:
        attributions: (batch, ...).
        mask: See ``expand_mask``.
        absolute: By ``|a|``; else by signed a.
    """
    inside, values = expand_mask(mask, attributions), rows(attributions)
    best = (values.abs() if absolute else values).argsort(dim=1, descending=True, stable=True)[:, :1]
    hit = inside.gather(1, best).squeeze(1).to(values.dtype)
    return hit.masked_fill(~(speaks(attributions) & inside.any(dim=1)), torch.nan)


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
    """Share of the K most relevant features that lie inside a mask of size K: [0, 1], higher is better.

    NaN where the mask is empty or the attribution zero everywhere. Arras et al. 2022, "relevance rank accuracy",
    https://arxiv.org/abs/2003.07258.

    Args:
        absolute: The most relevant by ``|a|``; else by signed a.
    """

    def update(self, attributions: Tensor, mask: Tensor) -> None:
        """Take in attributions (batch, ...) and masks that broadcast to them. Raises ValueError if they do not."""
        self.add(relevance_rank_accuracy(attributions, mask, self.absolute))


class PointingGame(RelevanceMassAccuracy):
    """Share of samples whose most relevant feature lies inside the mask: [0, 1], higher is better.

    NaN where the mask is empty or the attribution zero everywhere. Zhang et al. 2018, "pointing game",
    https://arxiv.org/abs/1608.00507; here without a margin around the mask.

    Args:
        absolute: The most relevant by ``|a|``; else by signed a.
    """

    def update(self, attributions: Tensor, mask: Tensor) -> None:
        """Take in attributions (batch, ...) and masks that broadcast to them. Raises ValueError if they do not."""
        self.add(pointing_game(attributions, mask, self.absolute))
