"""Area under the receiver operating characteristic."""

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_auroc

from kdlab.metrics.ranking import Ranking


class AUROC(Ranking):
    """Area under the ROC curve, mean over classes: [0, 1], higher is better.

    The chance that a sample of a class gets more probability for it than a sample of another class does. One against
    the rest, each class counting the same; with two classes the usual binary area. NaN where a class has no labelled
    sample.
    """

    def compute(self) -> Tensor:
        """Return the mean over classes; NaN if a class has no labelled sample."""
        probabilities, labels, complete = self.collected()
        if not complete:
            return torch.full((), torch.nan, device=self.device)
        area: Tensor = multiclass_auroc(probabilities, labels, num_classes=self.classes, average="macro")
        return area.to(torch.float32)
