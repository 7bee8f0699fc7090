"""Area under the receiver operating characteristic."""

import torch
from torch import Tensor

from kdlab.metrics.ranking import Ranking, first_of_equals, one_against_rest


def area_under_roc(scores: Tensor, hits: Tensor) -> Tensor:
    """Return the chance that a hit scores higher than another sample, a tie counting half: (classes,).

    ``(R - n (n + 1) / 2) / (n m)`` with R the sum of the hits' mean ranks, n their number, m that of the others: the
    Mann-Whitney statistic. NaN without a hit, or with nothing else.

    Args:
        scores: (classes, samples).
        hits: (classes, samples) bool.
    """
    ordered, places = scores.sort(dim=1)
    first, count = first_of_equals(ordered), hits.shape[1]
    last = count - 1 - first_of_equals(ordered.flip(1)).flip(1)
    ranks = (first + last).to(torch.float64) / 2 + 1
    positives = hits.sum(dim=1)
    total = (ranks * hits.gather(1, places)).sum(dim=1)
    return (total - positives * (positives + 1) / 2) / (positives * (count - positives))


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
        areas = [area_under_roc(*part) for part in one_against_rest(probabilities, labels)]
        return torch.cat(areas).mean().to(torch.float32)
