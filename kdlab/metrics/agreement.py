"""Top-1 agreement of the model with its teacher: over all samples, where the teacher errs, class by class."""

import torch
from torch import Tensor

from kdlab.metrics.base import PerSample, Unmerged
from kdlab.metrics.checks import check_columns, check_logits, check_same_shape, check_target
from kdlab.metrics.numerics import blank


def agreement(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return 1 where both have the same top class, else 0: (batch,); NaN where a logit of either is NaN.

    Args:
        logits: (batch, classes). The first of equal logits is the top class.
        teacher_logits: (batch, classes).
    """
    defined = ~(logits.isnan() | teacher_logits.isnan()).any(dim=1)
    return blank(logits.argmax(dim=1) == teacher_logits.argmax(dim=1), defined)


class Agreement(PerSample):
    """Share of samples on which the model and its teacher predict the same class: [0, 1], higher is better.

    Stanton et al. 2021, "average top-1 agreement", https://arxiv.org/abs/2106.05945.
    """

    higher_is_better = True

    def update(self, logits: Tensor, teacher_logits: Tensor) -> None:
        """Take in both logits, (batch, classes).

        Raises:
            ValueError: If the shapes do not fit.
        """
        check_logits(logits)
        check_same_shape(logits=logits, teacher_logits=teacher_logits)
        self.add(agreement(logits, teacher_logits))


class AgreementWhereTeacherErrs(PerSample):
    """Share of the teacher's mistakes that the model repeats, wrong class and all: [0, 1], neither way better as such.

    High: a faithful copy, mistakes included. Low with a good accuracy: the student corrects its teacher. Samples that
    the teacher gets right, and unlabelled ones (-1), are not spoken about: they are neither in the mean nor in
    ``nan_count``. NaN if the teacher errs nowhere.
    """

    higher_is_better = None

    def update(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> None:
        """Take in both logits, (batch, classes), and targets (batch,).

        Raises:
            ValueError: If the shapes do not fit, or a target is no class.
        """
        check_logits(logits)
        check_same_shape(logits=logits, teacher_logits=teacher_logits)
        check_target(target, logits)
        errs = teacher_logits.argmax(dim=1) != target
        self.add(agreement(logits, teacher_logits), applies=errs & (target >= 0))


class PerClassAgreement(Unmerged):
    """Top-1 agreement among the samples that the teacher puts into a class, for each class: [0, 1], higher is better.

    ``compute`` returns a dictionary ``{"class_0": ..., "class_1": ...}``, NaN for a class the teacher never predicts.

    Args:
        classes: How many there are, >= 2.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    higher_is_better = True

    agreeing: Tensor
    count: Tensor
    nan_count: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be 2 or more, got {classes}")
        self.classes = classes
        self.add_state("agreeing", default=torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("nan_count", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, teacher_logits: Tensor) -> None:
        """Take in both logits, (batch, classes).

        Raises:
            ValueError: If the shapes do not fit.
        """
        check_columns(logits, self.classes)
        check_same_shape(logits=logits, teacher_logits=teacher_logits)
        scores = agreement(logits, teacher_logits)
        predicted = teacher_logits.argmax(dim=1)
        self.agreeing = self.agreeing + torch.bincount(predicted[scores == 1], minlength=self.classes)
        self.count = self.count + torch.bincount(predicted[~scores.isnan()], minlength=self.classes)
        self.nan_count = self.nan_count + scores.isnan().sum()

    def compute(self) -> dict[str, Tensor]:
        """Return the agreement of each class by name."""
        return {f"class_{index}": value for index, value in enumerate(self.agreeing / self.count)}
