"""Metrics that remove or add features, on models whose scores are worked out by hand."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from kdlab.metrics.aopc import AOPC
from kdlab.metrics.comprehensiveness import Comprehensiveness, Sufficiency
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.metrics.faithfulness_correlation import FaithfulnessCorrelation, faithfulness_correlation
from kdlab.metrics.faithfulness_estimate import FaithfulnessEstimate
from kdlab.metrics.insertion_auc import InsertionAUC
from kdlab.metrics.interaction_strength import InteractionStrength
from kdlab.metrics.masking import draw_subsets
from kdlab.metrics.monotonicity import Monotonicity, MonotonicityCorrelation, MonotonicityFraction
from kdlab.metrics.numerics import spearman, top_count
from kdlab.metrics.order import order, units_of
from kdlab.metrics.removal import Removal, removal_counts, removal_curve
from tests.metrics.linear import FIRST, ONES, WEIGHTS, ZERO, of, weighted


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        # Deleting 3, 2, 1 of the sum 6 leaves 6, 3, 1, 0: (6/2 + 3 + 1 + 0/2) / 3.
        (DeletionAUC(on_logits=True), 7 / 3),
        # Inserting them gives 0, 3, 5, 6: (0/2 + 3 + 5 + 6/2) / 3.
        (InsertionAUC(on_logits=True), 11 / 3),
        # Drops 0, 3, 5, 6.
        (AOPC(on_logits=True), 3.5),
        # One feature of three is lost, then two: drops 3 and 5.
        (Comprehensiveness(shares=(1 / 3, 2 / 3), on_logits=True), 4.0),
        # One feature of three is kept, then two: drops 3 and 1.
        (Sufficiency(shares=(1 / 3, 2 / 3), on_logits=True), 2.0),
        # Attributions of a linear model are its drops.
        (FaithfulnessCorrelation(draws=20, share=0.6), 1.0),
        (FaithfulnessEstimate(), 1.0),
        (MonotonicityCorrelation(on_logits=True), 1.0),
        (Monotonicity(), 1.0),
        (MonotonicityFraction(), 1.0),
    ],
)
def test_value_by_hand(metric: Removal, value: float) -> None:
    metric.update(weighted(), ONES, WEIGHTS.unsqueeze(0), FIRST, ZERO)
    torch.testing.assert_close(metric.compute(), torch.tensor(value))


def test_deletion_on_the_probability_by_hand() -> None:
    metric = DeletionAUC()
    # Logits ln 3 and 0, then 0 and 0: probabilities 3/4 and 1/2, one step.
    metric.update(weighted(torch.tensor([3.0]).log()), torch.ones(1, 1), torch.ones(1, 1), FIRST, torch.zeros(1))
    torch.testing.assert_close(metric.compute(), torch.tensor(0.625))


def test_monotonicity_by_hand() -> None:
    # Features come as 1, -2, 3: the score rises to 1, falls to -1, rises to 2.
    weights = torch.tensor([1.0, -2.0, 3.0])
    fraction, strict = MonotonicityFraction(), Monotonicity()
    for metric in (fraction, strict):
        metric.update(weighted(weights), ONES, weights.unsqueeze(0), FIRST, ZERO)
    assert fraction.compute() == 0.5
    assert strict.compute() == 0.0


def test_a_better_attribution_has_the_better_score_in_the_declared_direction() -> None:
    metrics = (DeletionAUC, InsertionAUC, AOPC, Comprehensiveness, Sufficiency, FaithfulnessEstimate)
    for make in (*metrics, FaithfulnessCorrelation):
        right, wrong = make(), make()
        right.update(weighted(), ONES, WEIGHTS.unsqueeze(0), FIRST, ZERO)
        wrong.update(weighted(), ONES, -WEIGHTS.unsqueeze(0), FIRST, ZERO)
        better = right.compute() > wrong.compute()
        assert bool(better) == right.higher_is_better, make.__name__


def test_several_features_a_step_shorten_the_last_one() -> None:
    assert removal_counts(10, steps=32, units_per_step=4).tolist() == [0, 4, 8, 10]
    assert removal_counts(10, steps=5, units_per_step=None).tolist() == [0, 2, 4, 6, 8, 10]
    assert removal_counts(3, steps=32, units_per_step=None).tolist() == [0, 1, 2, 3]
    assert removal_counts(784, steps=32, units_per_step=None).shape[0] == 33


def test_faithfulness_estimate_of_groups_correlates_their_sums() -> None:
    metric = FaithfulnessEstimate(units_per_step=2)
    metric.update(weighted(), ONES, WEIGHTS.unsqueeze(0), FIRST, ZERO)
    torch.testing.assert_close(metric.compute(), torch.tensor(1.0))


def test_a_baseline_other_than_zero_is_what_features_go_to() -> None:
    metric = DeletionAUC(on_logits=True)
    # Down to 2 each: from 6 to 12 in steps of 3, 2, 1.
    metric.update(weighted(), ONES, WEIGHTS.unsqueeze(0), FIRST, torch.full((3,), 2.0))
    torch.testing.assert_close(metric.compute(), torch.tensor((6 / 2 + 9 + 11 + 12 / 2) / 3))


def test_equal_ones_share_their_place_and_where_all_are_equal_there_is_no_order() -> None:
    ordered = order(torch.tensor([[0.0, 1.0, 0.0], [2.0, 2.0, 2.0]]))
    assert ordered.before[0].tolist() == [1, 0, 1]
    assert ordered.equal[0].tolist() == [2, 1, 2]
    assert ordered.known.tolist() == [True, False]
    low, high = ordered.brackets(torch.tensor([0, 1, 2, 3]))
    assert low[0].tolist() == [0, 1, 1, 3]
    assert high[0].tolist() == [0, 1, 3, 3]


def test_equal_features_go_evenly_by_hand() -> None:
    # The first goes from 6 to 5; the two others, worth 2 and 3, are equal: 5, half of the way to 0, and 0.
    curve = removal_curve(weighted(), ONES, torch.tensor([[9.0, 1.0, 1.0]]), FIRST, ZERO, on_logits=True)
    assert curve.tolist() == [[6.0, 5.0, 2.5, 0.0]]


def test_the_curve_of_an_additive_model_is_the_expected_one_over_all_orders() -> None:
    weights = torch.randn(6)
    relevance = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 2.0])
    curves = []
    for drawn in permutations(range(6)):
        jitter = torch.tensor(drawn) * 1e-3
        curves.append(
            removal_curve(
                weighted(weights), torch.ones(1, 6), (relevance + jitter)[None], FIRST, torch.zeros(6), on_logits=True
            )
        )
    mean = torch.stack(curves).mean(dim=0)
    found = removal_curve(weighted(weights), torch.ones(1, 6), relevance[None], FIRST, torch.zeros(6), on_logits=True)
    torch.testing.assert_close(found, mean, rtol=1e-4, atol=1e-5)


def test_equal_features_cost_no_more_forwards_than_one_a_group() -> None:
    asked: list[int] = []

    def model(rows: Tensor) -> Tensor:
        asked.append(len(rows))
        return torch.stack([rows.sum(dim=1), rows[:, 0]], dim=1)

    inputs, half = torch.randn(2, 64), torch.arange(64.0).clamp(min=40).expand(2, 64)
    for attributions in (torch.randn(2, 64), half):
        asked.append(0)
        removal_curve(model, inputs, attributions, FIRST.expand(2), torch.zeros(64), chunk=1000)
    distinct, tied = asked[1 : asked.index(0, 1)], asked[asked.index(0, 1) :]
    assert sum(tied) <= sum(distinct)


def test_a_patch_goes_as_one_with_all_its_channels() -> None:
    units = units_of(torch.Size([2, 3, 3]), patch=2)
    assert units is not None
    assert units.reshape(2, 3, 3).tolist() == [[[0, 0, 1], [0, 0, 1], [2, 2, 3]]] * 2
    images = torch.ones(1, 2, 3, 3)
    model = of(lambda rows: rows.sum(dim=1))
    relevance = units.reshape(images.shape).float()
    curve = removal_curve(model, images, relevance, FIRST, torch.zeros(1), patch=2, on_logits=True)
    # By the patches' sums 0, 4, 8 and 6: the lower left, the corner, the right, the upper left.
    assert curve.tolist() == [[18.0, 14.0, 12.0, 8.0, 0.0]]


def test_a_patch_of_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"patch needs images .* one input is \(3,\)"):
        DeletionAUC(patch=2).update(weighted(), ONES, WEIGHTS.unsqueeze(0), FIRST, ZERO)


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"units_per_step": 0}, {"patch": -1}, {"chunk": 0}])
def test_numbers_that_are_not_positive_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        DeletionAUC(**arguments)


@pytest.mark.parametrize("shares", [(), (0.0,), (1.5,)])
def test_shares_out_of_range_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="shares"):
        Comprehensiveness(shares=shares)


def test_subsets_have_their_size_and_are_the_same_for_the_same_seed() -> None:
    drawn = draw_subsets(50, 9, 4, seed=3)
    assert drawn.sum(dim=1).tolist() == [4] * 50
    assert torch.equal(drawn, draw_subsets(50, 9, 4, seed=3))
    assert not torch.equal(drawn, draw_subsets(50, 9, 4, seed=4))
    assert (drawn.float().mean(dim=0) - 4 / 9).abs().max() < 0.25


def test_own_subsets_of_each_sample_equal_shared_ones_when_they_are_equal() -> None:
    inputs, subsets = torch.randn(4, 3), draw_subsets(10, 3, 2, seed=0)
    model = of(lambda rows: rows.square() @ WEIGHTS)
    arguments = (model, inputs, torch.randn(4, 3), FIRST.expand(4), ZERO)
    shared = faithfulness_correlation(*arguments, subsets)
    torch.testing.assert_close(faithfulness_correlation(*arguments, subsets.expand(4, 10, 3)), shared)


def test_subsets_of_other_features_are_refused() -> None:
    with pytest.raises(ValueError, match=r"subsets \(5, 4\) do not fit inputs \(1, 3\)"):
        faithfulness_correlation(weighted(), ONES, ONES, FIRST, ZERO, torch.ones(5, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    ("score", "value"),
    [
        (lambda rows: rows @ WEIGHTS, 0.0),
        # x1 x2: f = 1, 0, 0, 0: I = A = B = 1.
        (lambda rows: rows[:, 0] * rows[:, 1], 1 / 3),
        # Either, not both: f = 0, 1, 1, 0: all is interaction.
        (lambda rows: rows[:, 0] + rows[:, 1] - 2 * rows[:, 0] * rows[:, 1], 1.0),
    ],
)
def test_interaction_strength_by_hand(score: Callable[[Tensor], Tensor], value: float) -> None:
    metric = InteractionStrength()
    features = 3 if value == 0 else 2
    metric.update(of(score), torch.ones(1, features), FIRST, torch.zeros(features))
    torch.testing.assert_close(metric.compute(), torch.tensor(value), atol=1e-6, rtol=0)


def test_interaction_strength_of_many_features_draws_pairs_of_different_ones() -> None:
    metric = InteractionStrength(pairs=10)
    metric.update(of(lambda rows: rows.sum(dim=1).square()), torch.randn(2, 700), FIRST.expand(2), torch.zeros(700))
    assert 0 < metric.compute() < 1


def test_rank_correlation_shares_ranks_among_ties() -> None:
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: 4.5 / sqrt(4.5 * 5).
    value = spearman(torch.tensor([[1.0, 2.0, 2.0, 3.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    torch.testing.assert_close(value, torch.tensor([4.5 / (4.5 * 5) ** 0.5]))


@pytest.mark.parametrize(("share", "features", "count"), [(0.1, 10, 1), (0.25, 10, 3), (1.0, 7, 7), (0.3, 10, 3)])
def test_a_share_of_the_features_is_rounded_up(share: float, features: int, count: int) -> None:
    assert top_count(share, features) == count


def test_a_constant_model_has_no_correlation_by_rounding() -> None:
    def model(inputs: Tensor) -> Tensor:
        # As good as constant: the last digits differ.
        return torch.stack([1.0 + 1e-7 * inputs.sum(dim=1), torch.zeros(len(inputs))], dim=1)

    metric = FaithfulnessCorrelation()
    metric.update(model, torch.randn(3, 5), torch.randn(3, 5), FIRST.expand(3), torch.zeros(5))
    assert metric.nan_count == 3
