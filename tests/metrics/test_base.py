"""The base of metrics with one score a sample."""

import pytest
import torch
from torchmetrics import MetricCollection

from kdlab.metrics.accuracy import Accuracy
from kdlab.metrics.agreement import Agreement
from kdlab.metrics.base import MedianPerSample, PerSample


class Given(PerSample):
    """Scores that are handed in."""

    higher_is_better = True

    def update(self, scores: torch.Tensor) -> None:
        self.add(scores)


def test_the_mean_is_over_samples_and_not_over_batches() -> None:
    metric = Given()
    metric.update(torch.tensor([1.0, 2.0, 3.0]))
    metric.update(torch.tensor([10.0]))
    assert metric.compute() == 4.0


class Middle(MedianPerSample):
    """Scores that are handed in, by their median."""

    higher_is_better = True

    def update(self, scores: torch.Tensor) -> None:
        self.add(scores)


@pytest.mark.parametrize(
    ("scores", "median", "mean"),
    [([3.0, 1.0, 100.0, torch.nan, 2.0], 2.5, 26.5), ([3.0, 1.0, 101.0], 3.0, 35.0), ([4.0], 4.0, 4.0)],
)
def test_a_median_is_over_all_samples_and_the_mean_beside_it(scores: list[float], median: float, mean: float) -> None:
    metric = Middle()
    for one in scores:
        metric.update(torch.tensor([one]))
    assert metric.compute() == median
    assert metric.mean() == mean
    metric.reset()
    metric.update(torch.tensor([7.0]))
    assert metric.compute() == 7.0


def test_a_median_of_nothing_is_nan() -> None:
    metric = Middle()
    metric.update(torch.tensor([torch.nan]))
    assert metric.compute().isnan()
    assert metric.nan_count == 1


def test_nan_is_counted_and_kept_for_the_sample() -> None:
    metric = Given()
    metric.update(torch.tensor([1.0, torch.nan, 3.0]))
    assert metric.compute() == 2.0
    assert metric.nan_count == 1
    assert metric.latest.isnan().tolist() == [False, True, False]


def test_samples_that_the_metric_does_not_speak_about_are_counted_nowhere() -> None:
    metric = Given()
    metric.add(torch.tensor([1.0, 5.0, torch.nan]), applies=torch.tensor([True, False, False]))
    metric._update_count = 1
    assert metric.compute() == 1.0
    assert metric.nan_count == 0
    assert metric.latest.isnan().tolist() == [False, True, True]


def test_without_a_number_the_mean_is_nan() -> None:
    metric = Given()
    metric.update(torch.tensor([torch.nan]))
    assert metric.compute().isnan()


def test_many_small_scores_do_not_get_lost_in_the_sum() -> None:
    metric = Given()
    metric.update(torch.full((1,), 1e8))
    metric.update(torch.full((1000,), 0.25))
    torch.testing.assert_close(metric.sum, torch.tensor(1e8 + 250, dtype=torch.float64), rtol=0, atol=0)


def test_a_reset_forgets() -> None:
    metric = Given()
    metric.update(torch.tensor([1.0]))
    metric.reset()
    metric.update(torch.tensor([3.0]))
    assert metric.compute() == 3.0


def test_states_made_under_inference_mode_can_be_updated_outside() -> None:
    metric = Given()
    with torch.inference_mode():
        metric.update(torch.tensor([1.0]))
        metric.reset()
    metric.update(torch.tensor([3.0]))
    assert metric.compute() == 3.0


def test_forward_returns_the_batch_value_and_keeps_the_total() -> None:
    metric = Given()
    metric(torch.tensor([1.0]))
    assert metric(torch.tensor([3.0])) == 3.0
    assert metric.compute() == 2.0


@pytest.mark.parametrize("shape", [(), (2, 2)])
def test_scores_that_are_not_one_a_sample_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="one a sample"):
        Given().add(torch.zeros(shape))


def test_equal_first_batches_do_not_merge_two_metrics() -> None:
    # torchmetrics takes metrics with equal states for one. The teacher is right on the first batch, not on the second.
    both = MetricCollection([Accuracy(), Agreement()])
    logits = torch.eye(3)
    both.update(logits=logits, teacher_logits=logits, target=torch.arange(3))
    both.update(logits=logits, teacher_logits=logits.roll(1, 0), target=torch.arange(3))
    assert {name: float(value) for name, value in both.compute().items()} == {"Accuracy": 1.0, "Agreement": 0.5}
