"""Macro F1: precision and recall of every class, each class counting the same."""

import torch
from torch import Tensor

from kdlab.metrics.base import Unmerged
from kdlab.metrics.checks import check_columns, check_target


class MacroF1(Unmerged):
    """Mean over classes of ``2 TP / (2 TP + FP + FN)``: [0, 1], higher is better.

    NaN where a class has no labelled sample: its F1 says nothing, and a 0 for it would be an invented number.
    Unlabelled samples (-1) and samples with a NaN logit are left out; the latter are counted in ``nan_count``.

    Args:
        classes: How many there are, >= 2.

    Raises:
        ValueError: If there are fewer than two classes.
    """

    higher_is_better = True

    confusion: Tensor
    nan_count: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        if classes < 2:
            raise ValueError(f"classes must be 2 or more, got {classes}")
        self.classes = classes
        self.add_state("confusion", default=torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("nan_count", default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in logits (batch, classes) and targets (batch,).

        Raises:
            ValueError: If the shapes do not fit, or a target is no class.
        """
        check_columns(logits, self.classes)
        check_target(target, logits)
        broken = logits.isnan().any(dim=1)
        used = (target >= 0) & ~broken
        cells = target[used] * self.classes + logits.argmax(dim=1)[used]
        counts = torch.bincount(cells, minlength=self.classes**2).reshape(self.classes, self.classes)
        self.confusion = self.confusion + counts
        self.nan_count = self.nan_count + ((target >= 0) & broken).sum()

    def compute(self) -> Tensor:
        """Return the mean over classes; NaN if a class has no labelled sample."""
        labelled, predicted = self.confusion.sum(dim=1), self.confusion.sum(dim=0)
        scores = 2 * self.confusion.diagonal() / (labelled + predicted)
        return scores.masked_fill(labelled == 0, torch.nan).mean()
