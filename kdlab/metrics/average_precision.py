"""Average precision: the area under precision over recall, as a step function."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_average_precision

from kdlab.metrics.ranking import Ranking


class AveragePrecision(Ranking):
    """``sum_n (R_n - R_{n-1}) P_n`` over thresholds: [0, 1], higher is better.

    One against the rest and the mean over classes; with two classes that of class 1 alone, the positive one. NaN where
    a class has no labelled sample. A random ranking scores the class's share, not 1/2.
    """

    def compute(self) -> Tensor:
        """Return the value of class 1 (two classes) or the mean over classes; NaN if a class has no labelled sample."""
        probabilities, labels, complete = self.collected()
        if not complete:
            return torch.full((), torch.nan, device=self.device)
        precisions: Tensor = multiclass_average_precision(
            probabilities, labels, num_classes=self.classes, average="none"
        )
        return (precisions[1] if self.classes == 2 else precisions.mean()).to(torch.float32)
