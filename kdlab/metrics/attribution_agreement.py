"""Agreement of two attributions of the same inputs, the trained model's and its teacher's."""

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_attributions, check_same_shape, check_share
from kdlab.metrics.numerics import pearson, rows, spearman
from kdlab.metrics.ties import Top, expected_iou, places, top_of


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return ``<a, b> / (||a|| ||b||)`` over all features: (batch,), NaN where either is zero everywhere."""
    first_unit, other = (_unit(rows(values)) for values in (first, second))
    return (first_unit * other).sum(dim=1).clamp(-1, 1)


def _unit(values: Tensor) -> Tensor:
    # Scaled before it is squared: gradients of a saturated model square to zero in float32.
    scaled = values / values.abs().amax(dim=1, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
    return scaled / length


def speaks(attributions: Tensor) -> Tensor:
    """Say for which samples the attribution is finite and not zero everywhere: (batch,) bool."""
    values = rows(attributions)
    return values.isfinite().all(dim=1) & values.ne(0).any(dim=1)


def top_counts(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Return k, the share of the features that are not zero in both: (batch,), rounded up, at least one.

    A feature that neither attribution speaks about, as an image's border, is no candidate: else two attributions of one
    sparse support would agree on all of the top, whatever they say about it.
    """
    candidates = ((rows(first) != 0) | (rows(second) != 0)).sum(dim=1)
    # The rounding is that of top_count.
    return torch.round(candidates.double() * share, decimals=9).ceil().clamp(min=1).to(torch.int64)


def _tops(first: Tensor, second: Tensor, share: float) -> tuple[Top, Top, Tensor]:
    counts = top_counts(first, second, share)
    # What is not finite has no order, and is given no score below.
    top, other = (top_of(rows(values).nan_to_num(0.0, 0.0, 0.0).abs(), counts) for values in (first, second))
    return top, other, counts


def _scores(value: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return value.to(rows(first).dtype).masked_fill(~(speaks(first) & speaks(second)), torch.nan)


def top_k_iou(first: Tensor, second: Tensor, share: float = 0.25) -> Tensor:
    """Return the expected ``|A and B| / |A or B|`` of the two sets of top features: (batch,), NaN where either is zero.

    The expectation is over all orders of equal values, see ``kdlab.metrics.ties.expected_iou``.

    Args:
        first: (batch, ...).
        second: (batch, ...).
        share: What part of the features is the top, see ``top_counts``.
    """
    top, other, _ = _tops(first, second, share)
    return _scores(expected_iou(top, other), first, second)


def sign_agreement(first: Tensor, second: Tensor, share: float = 0.25) -> Tensor:
    """Return the expected share of the k top features that are top in both with one sign: (batch,).

    ``sum_i P(i in A) P(i in B) [sign a_i = sign b_i] / k``, over all orders of equal values. NaN where either is zero.
    """
    top, other, counts = _tops(first, second, share)
    same = rows(first).sign() == rows(second).sign()
    return _scores((top.chance() * other.chance() * same).sum(dim=1) / counts, first, second)


def rank_agreement(first: Tensor, second: Tensor, share: float = 0.25) -> Tensor:
    """Return the expected share of the k top places that hold one feature in both: (batch,), NaN where either is zero.

    A feature that shares its value with t - 1 others is at each of their t places in 1/t of the orders: ``sum_i (places
    among the first k that both groups have) / (t_i t'_i) / k``.
    """
    counts = top_counts(first, second, share)
    begins, ends, chances = [], [], torch.ones((), dtype=torch.float64)
    for values in (rows(first).abs(), rows(second).abs()):
        before, equal = places(values)
        begins.append(before)
        ends.append(before + equal)
        chances = chances * (values > 0) / equal.clamp(min=1)
    last = torch.minimum(torch.minimum(*ends), counts.unsqueeze(1))
    shared = (last - torch.maximum(*begins)).clamp(min=0)
    return _scores((shared * chances).sum(dim=1) / counts, first, second)


def _check(attributions: Tensor, teacher_attributions: Tensor) -> None:
    check_same_shape(attributions=attributions, teacher_attributions=teacher_attributions)
    check_attributions(attributions, attributions)


class AttributionCosine(PerSample):
    """Cosine of the two attributions: [-1, 1], higher is better. Large values count most; NaN where either is zero.

    Attributions that are never negative have a cosine above 0 whatever they say, the higher the more zeros they share:
    read it beside its control, ``explanation/shuffled``.
    """

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

    Ties share their mean rank, so that the order of equal values does not count. Zeros are a rank like another: two
    attributions that are never negative and not zero at the same features correlate by that alone, which its control,
    ``explanation/shuffled``, shows. Krishna et al. 2022, "rank correlation", https://arxiv.org/abs/2202.01602.
    """

    higher_is_better = True

    def update(self, attributions: Tensor, teacher_attributions: Tensor) -> None:
        """Take in two attributions of one shape, (batch, ...). Raises ValueError if the shapes differ."""
        _check(attributions, teacher_attributions)
        self.add(spearman(rows(attributions), rows(teacher_attributions)))


class AttributionTopKIoU(PerSample):
    """Overlap of the two sets of top features, intersection over union: [0, 1], higher is better.

    Top by absolute value, and only what is not zero; under ties the expected value over all orders of equal values, of
    each attribution its own (see ``kdlab.metrics.ties.expected_iou``), so that an attribution with ties may score below
    1 against itself. NaN where either is zero everywhere. Two random attributions of one support overlap by about
    s / (2 - s), s the share.

    Args:
        share: What part is the top of the features that are not zero in both, in (0, 1]; rounded up, at least one.

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
