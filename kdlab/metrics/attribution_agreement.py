"""Agreement of two attributions of the same inputs, the trained model's and its teacher's."""

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_attributions, check_same_shape, check_share
from kdlab.metrics.numerics import pearson, rows, spearman, top_count


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return ``<a, b> / (||a|| ||b||)`` over all features: (batch,), NaN where either is zero everywhere."""
    one, other = (_unit(rows(values)) for values in (first, second))
    return (one * other).sum(dim=1).clamp(-1, 1)


def _unit(values: Tensor) -> Tensor:
    # Scaled before it is squared: gradients of a saturated model square to zero in float32.
    scaled = values / values.abs().amax(dim=1, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / length


def top(attributions: Tensor, count: int) -> Tensor:
    """Return the features of largest absolute attribution, the largest first, ties by position: (batch, count)."""
    return rows(attributions).abs().argsort(dim=1, descending=True, stable=True)[:, :count]


def members(indices: Tensor, features: int) -> Tensor:
    """Return a (batch, features) bool table of the indices (batch, k)."""
    table = torch.zeros(indices.shape[0], features, dtype=torch.bool, device=indices.device)
    return table.scatter_(1, indices, True)


def speaks(attributions: Tensor) -> Tensor:
    """Say for which samples the attribution is finite and not zero everywhere: (batch,) bool."""
    values = rows(attributions)
    return values.isfinite().all(dim=1) & values.ne(0).any(dim=1)


def top_k_iou(first: Tensor, second: Tensor, share: float = 0.25) -> Tensor:
    """Return ``|A and B| / |A or B|`` of the two sets of top features: (batch,), NaN where either is zero.

    Args:
        first: (batch, ...).
        second: (batch, ...).
        share: What part of the features is the top; rounded up.
    """
    features = rows(first).shape[1]
    count = top_count(share, features)
    one, other = (members(top(values, count), features) for values in (first, second))
    value = (one & other).sum(dim=1) / (one | other).sum(dim=1)
    return value.masked_fill(~(speaks(first) & speaks(second)), torch.nan)


def sign_agreement(first: Tensor, second: Tensor, share: float = 0.25) -> Tensor:
    """Return the share of the k top features that are top in both with one sign: (batch,), NaN where either is zero."""
    features = rows(first).shape[1]
    count = top_count(share, features)
    one, other = (members(top(values, count), features) for values in (first, second))
    same = rows(first).sign() == rows(second).sign()
    value = (one & other & same).sum(dim=1) / count
    return value.masked_fill(~(speaks(first) & speaks(second)), torch.nan)


def rank_agreement(first: Tensor, second: Tensor, share: float = 0.25) -> Tensor:
    """Return the share of the k top places that hold one feature in both: (batch,), NaN where either is zero."""
    count = top_count(share, rows(first).shape[1])
    value = (top(first, count) == top(second, count)).sum(dim=1) / count
    return value.masked_fill(~(speaks(first) & speaks(second)), torch.nan)


def _check(attributions: Tensor, teacher_attributions: Tensor) -> None:
    check_same_shape(attributions=attributions, teacher_attributions=teacher_attributions)
    check_attributions(attributions, attributions)


class AttributionCosine(PerSample):
    """Cosine of the two attributions: [-1, 1], higher is better. Large values count most; NaN where either is zero."""

    higher_is_better = True

    def update(self, attributions: Tensor, teacher_attributions: Tensor) -> None:
        """Take in two attributions of one shape, (batch, ...). Raises ValueError if the shapes differ."""
        _check(attributions, teacher_attributions)
        self.add(cosine(attributions, teacher_attributions))


class AttributionPearson(PerSample):
    """Correlation of the two attributions over the features: [-1, 1], higher is better; NaN where one is constant."""

    higher_is_better = True

    def update(self, attributions: Tensor, teacher_attributions: Tensor) -> None:
        """Take in two attributions of one shape, (batch, ...). Raises ValueError if the shapes differ."""
        _check(attributions, teacher_attributions)
        self.add(pearson(rows(attributions), rows(teacher_attributions)))


class AttributionSpearman(PerSample):
    """Rank correlation of the two signed attributions: [-1, 1], higher is better. NaN where either is constant.

    Ties share their mean rank. Krishna et al. 2022, "rank correlation", https://arxiv.org/abs/2202.01602.
    """

    higher_is_better = True

    def update(self, attributions: Tensor, teacher_attributions: Tensor) -> None:
        """Take in two attributions of one shape, (batch, ...). Raises ValueError if the shapes differ."""
        _check(attributions, teacher_attributions)
        self.add(spearman(rows(attributions), rows(teacher_attributions)))


class AttributionTopKIoU(PerSample):
    """Overlap of the two sets of top features, intersection over union: [0, 1], higher is better.

    Top by absolute value, ties by position; NaN where either is zero everywhere. Two random sets of a share s overlap
    by s / (2 - s).

    Args:
        share: What part of the features is the top, in (0, 1]; rounded up, at least one feature.

    Raises:
        ValueError: If the share is not in (0, 1].
    """

    higher_is_better = True

    def __init__(self, share: float = 0.25) -> None:
        super().__init__()
        check_share(share=share)
        self.share = share

    def update(self, attributions: Tensor, teacher_attributions: Tensor) -> None:
        """Take in two attributions of one shape, (batch, ...). Raises ValueError if the shapes differ."""
        _check(attributions, teacher_attributions)
        self.add(top_k_iou(attributions, teacher_attributions, self.share))


class AttributionSignAgreement(AttributionTopKIoU):
    """Share of the k top features that are top in both, with the same sign: [0, 1], higher is better.

    Top as for ``AttributionTopKIoU``. Krishna et al. 2022, "sign agreement", section 3.2,
    https://arxiv.org/abs/2202.01602.
    """

    def update(self, attributions: Tensor, teacher_attributions: Tensor) -> None:
        """Take in two attributions of one shape, (batch, ...). Raises ValueError if the shapes differ."""
        _check(attributions, teacher_attributions)
        self.add(sign_agreement(attributions, teacher_attributions, self.share))


class AttributionRankAgreement(AttributionTopKIoU):
    """Share of the k top places that hold the same feature in both: [0, 1], higher is better.

    Top as for ``AttributionTopKIoU``. Krishna et al. 2022, "rank agreement", section 3.2,
    https://arxiv.org/abs/2202.01602.
    """

    def update(self, attributions: Tensor, teacher_attributions: Tensor) -> None:
        """Take in two attributions of one shape, (batch, ...). Raises ValueError if the shapes differ."""
        _check(attributions, teacher_attributions)
        self.add(rank_agreement(attributions, teacher_attributions, self.share))
