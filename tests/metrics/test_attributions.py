"""Metrics of attributions alone: their shape, where they lie, and their likeness to others."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from kdlab.metrics.attribution_agreement import (
    AttributionCosine,
    AttributionPearson,
    AttributionRankAgreement,
    AttributionSignAgreement,
    AttributionSpearman,
    AttributionTopKIoU,
)
from kdlab.metrics.attribution_ssim import AttributionSSIM, structural_similarity
from kdlab.metrics.base import PerSample
from kdlab.metrics.effective_complexity import EffectiveComplexity
from kdlab.metrics.entropy import Entropy
from kdlab.metrics.gini import Gini
from kdlab.metrics.localisation import PointingGame, RelevanceMassAccuracy, RelevanceRankAccuracy


@pytest.mark.parametrize(
    ("metric", "attributions", "value"),
    [
        # All in one of four features: 1 - 1/4; equal shares: 0.
        (Gini(), [0.0, -2.0, 0.0, 0.0], 0.75),
        (Gini(), [1.0, -1.0, 1.0, 1.0], 0.0),
        (Entropy(), [3.0, -3.0, 0.0, 0.0], math.log(2)),
        (Entropy(normalised=True), [3.0, -3.0, 0.0, 0.0], 0.5),
        (Entropy(), [0.0, 0.0, 5.0, 0.0], 0.0),
        # 5 % of the largest is 0.05.
        (EffectiveComplexity(), [-1.0, 0.5, 0.04, 0.0], 2.0),
        (EffectiveComplexity(threshold=0.6), [-1.0, 0.5, 0.04, 0.0], 1.0),
    ],
)
def test_shape_of_an_attribution_by_hand(metric: PerSample, attributions: list[float], value: float) -> None:
    metric.update(torch.tensor([attributions]))
    torch.testing.assert_close(metric.compute(), torch.tensor(value))


def test_an_outlier_in_the_batch_does_not_change_a_neighbour() -> None:
    metric = EffectiveComplexity()
    metric.update(torch.stack([torch.ones(4), torch.tensor([1e9, 0.0, 0.0, 0.0])]))
    assert metric.latest.tolist() == [4.0, 1.0]


@pytest.mark.parametrize("make", [Gini, Entropy, EffectiveComplexity])
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_an_attribution_that_says_nothing_has_no_shape(make: type[PerSample], value: float) -> None:
    metric = make()
    metric.update(torch.tensor([[value, 1.0, 0.0], [1.0, 2.0, 3.0]]) * torch.tensor([[float(value != 0)], [1.0]]))
    assert metric.latest.isnan().tolist() == [True, False]


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        # Attributions 1, -1, 2, mask over the first two.
        (RelevanceMassAccuracy(), 0.5),
        (RelevanceMassAccuracy(absolute=False), 1 / 3),
        (RelevanceRankAccuracy(), 0.5),
        (PointingGame(), 0.0),
    ],
)
def test_localisation_by_hand(metric: PerSample, value: float) -> None:
    metric.update(torch.tensor([[1.0, -1.0, 2.0]]), torch.tensor([[True, True, False]]))
    torch.testing.assert_close(metric.compute(), torch.tensor(value))


@pytest.mark.parametrize("make", [RelevanceMassAccuracy, RelevanceRankAccuracy, PointingGame])
class TestLocalisation:
    def test_all_inside_is_one(self, make: type[PerSample]) -> None:
        metric, mask = make(), torch.zeros(2, 1, 4, 4)
        mask[..., :2] = 1
        metric.update(mask * torch.rand(2, 1, 4, 4).clamp(min=0.1), mask)
        assert metric.compute() == 1.0

    def test_an_empty_mask_is_counted_and_no_hit(self, make: type[PerSample]) -> None:
        metric = make()
        metric.update(torch.ones(1, 3), torch.zeros(1, 3))
        assert metric.nan_count == 1

    def test_a_mask_of_an_image_may_leave_out_the_channels(self, make: type[PerSample]) -> None:
        attributions, mask = torch.randn(2, 3, 4, 4), torch.rand(2, 4, 4) > 0.5
        flat, single, full = make(), make(), make()
        flat.update(attributions, mask)
        single.update(attributions, mask.unsqueeze(1))
        full.update(attributions, mask.unsqueeze(1).expand(2, 3, 4, 4))
        assert flat.compute() == single.compute() == full.compute()

    def test_a_mask_of_another_shape_is_refused(self, make: type[PerSample]) -> None:
        with pytest.raises(ValueError, match=r"mask \(2, 4, 5\) does not fit attributions \(2, 3, 4, 4\)"):
            make().update(torch.randn(2, 3, 4, 4), torch.ones(2, 4, 5))


FIRST, SECOND = torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.tensor([[4.0, -3.0, 1.0, 2.0]])


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        # 16 - 9 + 2 + 2 over 30.
        (AttributionCosine(), 11 / 30),
        # Centred: 1.5, 0.5, -0.5, -1.5 and 3, -4, 0, 1: 1 / sqrt(5 * 26).
        (AttributionPearson(), 1 / math.sqrt(130)),
        # Ranks 4, 3, 2, 1 and 4, 1, 2, 3: 1 - 6 * 8 / 60.
        (AttributionSpearman(), 0.2),
        # Features 0 and 1 both; of three: 0, 1, 2 and 0, 1, 3.
        (AttributionTopKIoU(share=0.5), 1.0),
        (AttributionTopKIoU(share=0.75), 0.5),
        (AttributionSignAgreement(share=0.5), 0.5),
        (AttributionRankAgreement(share=0.5), 1.0),
        (AttributionRankAgreement(share=1.0), 0.5),
    ],
)
def test_agreement_of_attributions_by_hand(metric: PerSample, value: float) -> None:
    metric.update(FIRST, SECOND)
    torch.testing.assert_close(metric.compute(), torch.tensor(value))


AGREEMENTS = [
    AttributionCosine,
    AttributionPearson,
    AttributionSpearman,
    AttributionTopKIoU,
    AttributionSignAgreement,
    AttributionRankAgreement,
]


@pytest.mark.parametrize("make", AGREEMENTS)
class TestAgreementOfAttributions:
    def test_is_one_for_the_same_direction_at_any_size(self, make: type[PerSample]) -> None:
        metric, attributions = make(), torch.randn(5, 3, 4)
        metric.update(1e-30 * attributions, 1e15 * attributions)
        torch.testing.assert_close(metric.latest, torch.ones(5))

    def test_is_nan_where_one_is_zero(self, make: type[PerSample]) -> None:
        metric = make()
        metric.update(torch.zeros(1, 4), FIRST)
        assert metric.nan_count == 1

    def test_is_symmetric(self, make: type[PerSample]) -> None:
        first, second = torch.randn(5, 9), torch.randn(5, 9)
        one, other = make(), make()
        one.update(first, second)
        other.update(second, first)
        torch.testing.assert_close(one.latest, other.latest)


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\]"):
        AttributionTopKIoU(share=share)


def scaled(maps: Tensor) -> Tensor:
    return maps / maps.abs().amax(dim=(1, 2, 3), keepdim=True)


def test_structural_similarity_equals_torchmetrics_inside_the_image() -> None:
    first, second = torch.randn(3, 2, 28, 28), torch.randn(3, 2, 28, 28)
    second = second + first
    _, places = structural_similarity_index_measure(
        scaled(first), scaled(second), data_range=2.0, reduction="none", return_full_image=True
    )
    # It counts places where the window leaves the image too, with a mirrored border.
    expected = places[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    torch.testing.assert_close(structural_similarity(first, second), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [1, 4, 8, 28])
def test_structural_similarity_of_a_map_with_itself_is_one_in_any_size(side: int) -> None:
    metric, maps = AttributionSSIM(), torch.randn(2, 1, side, side)
    metric.update(maps, 3 * maps)
    torch.testing.assert_close(metric.compute(), torch.tensor(1.0))


def test_structural_similarity_needs_images() -> None:
    with pytest.raises(ValueError, match=r"attributions must be \(batch, channels, height, width\), got \(2, 9\)"):
        AttributionSSIM().update(torch.randn(2, 9), torch.randn(2, 9))


@pytest.mark.parametrize("arguments", [{"window": 4}, {"sigma": 0.0}])
def test_structural_similarity_refuses_bad_windows(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        AttributionSSIM(**arguments)
