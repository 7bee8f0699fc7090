"""Metrics of the student against its teacher."""

import math

import pytest
import torch

from kdlab.metrics.agreement import Agreement, AgreementWhereTeacherErrs, PerClassAgreement
from kdlab.metrics.base import PerSample
from kdlab.metrics.divergence import (
    JensenShannon,
    KLStudentTeacher,
    KLTeacherStudent,
    TotalVariation,
    jensen_shannon,
    kullback_leibler,
)

HALVES = torch.zeros(1, 2)
QUARTERS = torch.tensor([[3.0, 1.0]]).log()


def test_agreement_by_hand() -> None:
    metric = Agreement()
    metric.update(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 1.0], [0.0, 1.0]]))
    assert metric.compute() == 0.5


def test_agreement_where_the_teacher_errs_by_hand() -> None:
    metric = AgreementWhereTeacherErrs()
    predicted, teachers = torch.tensor([0, 1, 2, 1, 0]), torch.tensor([0, 1, 1, 1, 2])
    # The teacher is right, wrong, wrong, unlabelled, wrong; the student repeats the first of the three mistakes only.
    metric.update(torch.eye(3)[predicted], torch.eye(3)[teachers], torch.tensor([0, 0, 0, -1, 0]))
    torch.testing.assert_close(metric.compute(), torch.tensor(1 / 3))
    assert metric.nan_count == 0
    assert metric.latest.isnan().tolist() == [True, False, False, True, False]


def test_agreement_of_each_class_by_hand() -> None:
    metric = PerClassAgreement(3)
    metric.update(torch.eye(3)[torch.tensor([0, 1, 1])], torch.eye(3)[torch.tensor([0, 0, 1])])
    values = metric.compute()
    assert values["class_0"] == 0.5
    assert values["class_1"] == 1.0
    assert values["class_2"].isnan()


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        # Teacher 3/4 and 1/4, student 1/2 and 1/2.
        (KLTeacherStudent(), 0.75 * math.log(1.5) + 0.25 * math.log(0.5)),
        (KLStudentTeacher(), 0.5 * math.log(2 / 3) + 0.5 * math.log(2)),
        # The mean of the two is 5/8 and 3/8.
        (
            JensenShannon(),
            0.5 * (0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3) + 0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3)),
        ),
        (TotalVariation(), 0.25),
    ],
)
def test_divergence_by_hand(metric: PerSample, value: float) -> None:
    metric.update(logits=HALVES, teacher_logits=QUARTERS)
    torch.testing.assert_close(metric.compute(), torch.tensor(value))


@pytest.mark.parametrize("make", [KLTeacherStudent, KLStudentTeacher, JensenShannon, TotalVariation])
def test_a_perfect_student_has_no_divergence_and_a_shift_changes_nothing(make: type[PerSample]) -> None:
    metric, logits = make(), torch.randn(5, 4)
    metric.update(logits=logits + 3.0, teacher_logits=logits)
    torch.testing.assert_close(metric.compute(), torch.tensor(0.0), atol=1e-6, rtol=0)


def test_divergences_are_finite_and_bounded_for_margins_of_1e4() -> None:
    first, second = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert kullback_leibler(first, second) == 1e4
    torch.testing.assert_close(jensen_shannon(first, second), torch.tensor([math.log(2)]))


def test_logits_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits \(2, 3\) and teacher_logits \(2, 4\)"):
        Agreement().update(torch.randn(2, 3), torch.randn(2, 4))
