"""Expected calibration error, of the trained model and of its teacher."""

import torch
from torch import Tensor

from kdlab.metrics.base import Unmerged
from kdlab.metrics.checks import check_columns, check_target


class CalibrationError(Unmerged):
    """Expected calibration error, ``sum_b n_b / n |accuracy_b - confidence_b|``: [0, 1], lower is better.

    Bins of equal width over the confidence, which is the largest probability. Guo et al. 2017, equation 3,
    https://arxiv.org/abs/1706.04599. Unlabelled samples (-1) and samples whose logits give no probabilities (one is NaN
    or infinitely large) are left out; the latter are counted in ``nan_count``. NaN if no sample is left.

    Args:
        classes: How many there are, >= 2.
        bins: How many, >= 1. More bins need more samples: with few in a bin the error is overestimated.

    Raises:
        ValueError: If there are fewer than two classes or no bin.
    """

    higher_is_better = False

    correct: Tensor
    confidence: Tensor
    count: Tensor
    nan_count: Tensor

    def __init__(self, classes: int, bins: int = 15) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be 2 or more, got {classes}")
        if bins < 1:
            raise ValueError(f"bins must be 1 or more, got {bins}")
        self.classes = classes
        self.bins = bins
        self.add_state("correct", default=torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("confidence", default=torch.zeros(bins, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("nan_count", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in logits (batch, classes) and targets (batch,).

        Raises:
            ValueError: If the shapes do not fit, or a target is no class.
        """
        check_columns(logits, self.classes)
        check_target(target, logits)
        probabilities = logits.detach().to(torch.float64).softmax(dim=1)
        broken = probabilities.isnan().any(dim=1)
        used = (target >= 0) & ~broken
        confidence, top = probabilities[used].max(dim=1)
        bins = (confidence * self.bins).to(torch.int64).clamp(max=self.bins - 1)
        hit = (top == target[used]).to(torch.float64)
        self.correct = self.correct.index_add(0, bins, hit)
        self.confidence = self.confidence.index_add(0, bins, confidence)
        self.count = self.count + used.sum()
        self.nan_count = self.nan_count + ((target >= 0) & broken).sum()

    def compute(self) -> Tensor:
        """Return the error; NaN if there was no sample."""
        return ((self.correct - self.confidence).abs().sum() / self.count).to(torch.float32)


class TeacherCalibrationError(CalibrationError):
    """Calibration error of the teacher on the same samples: [0, 1], lower is better. See ``CalibrationError``."""

    def update(self, teacher_logits: Tensor, target: Tensor) -> None:
        """Take in the teacher's logits (batch, classes) and targets (batch,).

        Raises:
            ValueError: If the shapes do not fit, or a target is no class.
        """
        super().update(teacher_logits, target)
