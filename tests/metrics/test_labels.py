"""Metrics of predictions against labels."""

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_average_precision,
    multiclass_auroc,
    multiclass_average_precision,
    multiclass_calibration_error,
    multiclass_f1_score,
)

from kdlab.metrics import ranking
from kdlab.metrics.accuracy import Accuracy
from kdlab.metrics.auroc import AUROC, area_under_roc
from kdlab.metrics.average_precision import AveragePrecision, average_precision
from kdlab.metrics.calibration_error import CalibrationError, TeacherCalibrationError
from kdlab.metrics.macro_f1 import MacroF1
from kdlab.metrics.negative_log_likelihood import NegativeLogLikelihood


@pytest.fixture
def scored() -> tuple[Tensor, Tensor]:
    """Logits (40, 4) and labels that they half know."""
    target = torch.arange(40) % 4
    logits = torch.randn(40, 4)
    logits[torch.arange(40), target] += 1.0
    return logits, target


def test_accuracy_by_hand_leaves_out_unlabelled_samples() -> None:
    metric = Accuracy()
    # right, wrong, unlabelled: 1/2
    metric.update(torch.tensor([[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]]), torch.tensor([0, 1, -1]))
    assert metric.compute() == 0.5
    assert metric.nan_count == 0
    assert metric.latest.isnan().tolist() == [False, False, True]


def test_negative_log_likelihood_by_hand() -> None:
    metric = NegativeLogLikelihood()
    # p(label) = 3/4 and 1/4: (ln 4/3 + ln 4) / 2
    metric.update(torch.tensor([[3.0, 1.0], [3.0, 1.0], [0.0, 0.0]]).log(), torch.tensor([0, 1, -1]))
    torch.testing.assert_close(metric.compute(), torch.tensor((math.log(4 / 3) + math.log(4)) / 2))


def test_negative_log_likelihood_is_finite_for_margins_of_1e4() -> None:
    metric = NegativeLogLikelihood()
    metric.update(torch.tensor([[1e4, 0.0]]), torch.tensor([1]))
    assert metric.compute() == 1e4


def test_macro_f1_by_hand() -> None:
    metric = MacroF1(2)
    # predictions 0 0 1, labels 0 1 1: F1 = 2/3 for both classes
    metric.update(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 1]))
    torch.testing.assert_close(metric.compute(), torch.tensor(2 / 3))


def test_macro_f1_equals_torchmetrics(scored: tuple[Tensor, Tensor]) -> None:
    metric = MacroF1(4)
    metric.update(*scored)
    torch.testing.assert_close(metric.compute(), multiclass_f1_score(*scored, num_classes=4, average="macro"))


def test_auroc_by_hand() -> None:
    metric = AUROC(2)
    # scores of class 1: 0.1 (label 0), 0.4 (1), 0.3 (0), 0.2 (1): of four pairs three are in order
    scores = torch.tensor([0.1, 0.4, 0.3, 0.2])
    metric.update(torch.stack([1 - scores, scores], dim=1).log(), torch.tensor([0, 1, 0, 1]))
    assert metric.compute() == 0.75


def test_two_columns_are_the_binary_case() -> None:
    logits, target = torch.randn(30, 2), torch.arange(30) % 2
    area, precision = AUROC(2), AveragePrecision(2)
    area.update(logits, target)
    precision.update(logits, target)
    score = logits.softmax(dim=1)[:, 1]
    torch.testing.assert_close(area.compute(), binary_auroc(score, target))
    torch.testing.assert_close(precision.compute(), binary_average_precision(score, target))


def test_auroc_of_several_classes_equals_torchmetrics(scored: tuple[Tensor, Tensor]) -> None:
    metric = AUROC(4)
    metric.update(*scored)
    torch.testing.assert_close(metric.compute(), multiclass_auroc(*scored, num_classes=4))


def test_auroc_does_not_tie_confident_predictions() -> None:
    metric = AUROC(2)
    # In float32 both probabilities of class 1 would be 1.
    metric.update(torch.tensor([[0.0, 25.0], [0.0, 30.0]]), torch.tensor([0, 1]))
    assert metric.compute() == 1.0


def test_average_precision_by_hand() -> None:
    metric = AveragePrecision(2)
    # by descending score: label 1, 0, 1: 1/2 * 1 + 1/2 * 2/3
    scores = torch.tensor([0.9, 0.8, 0.7])
    metric.update(torch.stack([1 - scores, scores], dim=1).log(), torch.tensor([1, 0, 1]))
    torch.testing.assert_close(metric.compute(), torch.tensor(5 / 6))


@pytest.mark.parametrize("metric", [MacroF1(3), AUROC(3), AveragePrecision(3)])
def test_a_class_without_samples_gives_nan_and_no_invented_number(metric: MacroF1 | AUROC | AveragePrecision) -> None:
    metric.update(torch.randn(6, 3), torch.tensor([0, 1, 0, 1, -1, 0]))
    assert metric.compute().isnan()


@pytest.mark.parametrize("make", [AUROC, AveragePrecision, MacroF1, CalibrationError])
def test_without_a_labelled_sample_the_value_is_nan(make: type[AUROC]) -> None:
    metric = make(3)
    metric.update(torch.randn(2, 3), torch.tensor([-1, -1]))
    assert metric.compute().isnan()


@pytest.mark.parametrize("make", [AUROC, AveragePrecision, CalibrationError])
def test_infinite_logits_are_counted_and_end_nothing(make: type[AUROC]) -> None:
    metric, finite = make(3), make(3)
    logits, target = torch.randn(12, 3), torch.arange(12) % 3
    finite.update(logits, target)
    broken = torch.tensor([[torch.inf, 0.0, 0.0], [torch.nan, 0.0, 0.0], [-torch.inf] * 3])
    metric.update(torch.cat([logits, broken]), torch.cat([target, torch.tensor([0, 1, 2])]))
    assert metric.nan_count == 3
    assert metric.compute() == finite.compute()


def test_equal_scores_are_ranked_alike() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.5, 0.9, 0.1]])
    hits = torch.tensor([[True, False, True, False, True]])
    # Pairs of a hit and another: 1/2, 0; 1/2, 0; 0, 0: 1 of 6. Precision at the hits: 2 of 4, 2 of 4, 3 of 5.
    torch.testing.assert_close(area_under_roc(scores, hits), torch.tensor([1 / 6], dtype=torch.float64))
    torch.testing.assert_close(average_precision(scores, hits), torch.tensor([1.6 / 3], dtype=torch.float64))


def test_classes_ranked_in_parts_give_the_same(scored: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    rounded = scored[0].round(), scored[1]  # with ties
    whole = [make(4) for make in (AUROC, AveragePrecision)]
    for metric in whole:
        metric.update(*rounded)
    values = [metric.compute() for metric in whole]
    probabilities = rounded[0].double().softmax(1)
    torch.testing.assert_close(values[0], multiclass_auroc(probabilities, rounded[1], num_classes=4).float())
    expected = multiclass_average_precision(probabilities, rounded[1], num_classes=4)
    torch.testing.assert_close(values[1], expected.float())
    monkeypatch.setattr(ranking, "AT_ONCE", 80)
    for metric, value in zip((AUROC(4), AveragePrecision(4)), values, strict=True):
        metric.update(*rounded)
        torch.testing.assert_close(metric.compute(), value)


def test_calibration_error_by_hand() -> None:
    metric = CalibrationError(2, bins=10)
    # Two samples of confidence 0.75, one of them right: |1/2 - 3/4|.
    metric.update(torch.tensor([[3.0, 1.0], [3.0, 1.0]]).log(), torch.tensor([0, 1]))
    torch.testing.assert_close(metric.compute(), torch.tensor(0.25))


def test_calibration_error_equals_torchmetrics(scored: tuple[Tensor, Tensor]) -> None:
    metric = CalibrationError(4)
    metric.update(*scored)
    torch.testing.assert_close(metric.compute(), multiclass_calibration_error(*scored, num_classes=4, n_bins=15))


def test_the_teachers_calibration_error_is_that_of_its_logits(scored: tuple[Tensor, Tensor]) -> None:
    own, teachers = CalibrationError(4), TeacherCalibrationError(4)
    own.update(*scored)
    teachers.update(teacher_logits=scored[0], target=scored[1])
    assert own.compute() == teachers.compute()


@pytest.mark.parametrize("make", [MacroF1, AUROC, AveragePrecision, CalibrationError])
def test_less_than_two_classes_are_refused(make: type[AUROC]) -> None:
    with pytest.raises(ValueError, match="classes must be 2 or more, got 1"):
        make(1)


def test_logits_of_other_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits must be \(batch, 3\), got \(2, 4\)"):
        MacroF1(3).update(torch.randn(2, 4), torch.tensor([0, 1]))


def test_one_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two classes or more, got \(2, 1\)"):
        Accuracy().update(torch.randn(2, 1), torch.tensor([0, 1]))


def test_a_target_of_floats_is_refused() -> None:
    with pytest.raises(ValueError, match="class indices"):
        Accuracy().update(torch.randn(2, 2), torch.tensor([0.0, 1.0]))


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="bins must be 1 or more, got 0"):
        CalibrationError(2, bins=0)
