"""Distances between the predicted distributions of the trained model and its teacher, at temperature 1."""

import math

import torch.nn.functional as F
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_logits, check_same_shape
from kdlab.metrics.numerics import at_least_float32


def kullback_leibler(logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return ``KL(p || q) = sum_c p_c (log p_c - log q_c)`` of two softmax distributions, in nats: (batch,).

    Args:
        logits: (batch, classes), of p.
        other_logits: (batch, classes), of q.
    """
    first = F.log_softmax(at_least_float32(logits), dim=1)
    second = F.log_softmax(at_least_float32(other_logits), dim=1)
    # Rounding can push a divergence of nearly equal distributions below zero.
    return (first.exp() * (first - second)).sum(dim=1).clamp(min=0)


def jensen_shannon(logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return ``(KL(p || m) + KL(q || m)) / 2`` with ``m = (p + q) / 2``, in nats: (batch,), at most log 2."""
    first = F.log_softmax(at_least_float32(logits), dim=1)
    second = F.log_softmax(at_least_float32(other_logits), dim=1)
    middle = first.logaddexp(second) - math.log(2)
    return ((first.exp() * (first - middle) + second.exp() * (second - middle)).sum(dim=1) / 2).clamp(min=0)


def total_variation(logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return ``sum_c |p_c - q_c| / 2`` of two softmax distributions: (batch,), in [0, 1]."""
    first, second = (at_least_float32(values).softmax(dim=1) for values in (logits, other_logits))
    return (first - second).abs().sum(dim=1) / 2


def _check(logits: Tensor, teacher_logits: Tensor) -> None:
    check_logits(logits)
    check_same_shape(logits=logits, teacher_logits=teacher_logits)


class KLTeacherStudent(PerSample):
    """``KL(teacher || student)`` at temperature 1, mean over samples: nats, >= 0, lower is better.

    What distillation minimises: large where the student gives no chance to what the teacher holds likely. Stanton et
    al. 2021, "average predictive KL", https://arxiv.org/abs/2106.05945.
    """

    higher_is_better = False

    def update(self, logits: Tensor, teacher_logits: Tensor) -> None:
        """Take in both logits, (batch, classes). Raises ValueError if the shapes do not fit."""
        _check(logits, teacher_logits)
        self.add(kullback_leibler(teacher_logits, logits))


class KLStudentTeacher(PerSample):
    """``KL(student || teacher)`` at temperature 1, mean over samples: nats, >= 0, lower is better.

    Large where the student holds likely what the teacher excludes.
    """

    higher_is_better = False

    def update(self, logits: Tensor, teacher_logits: Tensor) -> None:
        """Take in both logits, (batch, classes). Raises ValueError if the shapes do not fit."""
        _check(logits, teacher_logits)
        self.add(kullback_leibler(logits, teacher_logits))


class JensenShannon(PerSample):
    """Jensen-Shannon divergence of student and teacher, mean over samples: nats, [0, log 2], lower is better.

    Symmetric and bounded, so that one sample with an excluded class does not decide the mean. Lin 1991,
    https://doi.org/10.1109/18.61115.
    """

    higher_is_better = False

    def update(self, logits: Tensor, teacher_logits: Tensor) -> None:
        """Take in both logits, (batch, classes). Raises ValueError if the shapes do not fit."""
        _check(logits, teacher_logits)
        self.add(jensen_shannon(logits, teacher_logits))


class TotalVariation(PerSample):
    """``sum_c |p_c - q_c| / 2`` of student and teacher, mean over samples: [0, 1], lower is better.

    The largest difference in probability that the two give to any set of classes.
    """

    higher_is_better = False

    def update(self, logits: Tensor, teacher_logits: Tensor) -> None:
        """Take in both logits, (batch, classes). Raises ValueError if the shapes do not fit."""
        _check(logits, teacher_logits)
        self.add(total_variation(logits, teacher_logits))
