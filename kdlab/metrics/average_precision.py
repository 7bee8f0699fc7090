"""Average precision: the area under precision over recall, as a step function."""

import torch
from torch import Tensor

from kdlab.metrics.ranking import Ranking, first_of_equals, one_against_rest


def average_precision(scores: Tensor, hits: Tensor) -> Tensor:
    """Return the mean over the hits of the precision among all samples that score as high or higher: (classes,).

    It is ``sum_n (R_n - R_{n-1}) P_n`` over the distinct scores as thresholds, since recall rises by one part at each
    hit. NaN without a hit.

    Args:
        scores: (classes, samples).
        hits: (classes, samples) bool.
    """
    ordered, places = scores.sort(dim=1)
    hit = hits.gather(1, places).to(torch.float64)
    # From the first of equal scores on, all score as high or higher.
    first = first_of_equals(ordered)
    hits_from = hit.flip(1).cumsum(dim=1).flip(1)
    precision = hits_from.gather(1, first) / (hits.shape[1] - first)
    return (precision * hit).sum(dim=1) / hit.sum(dim=1)


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
        precisions = torch.cat([average_precision(*part) for part in one_against_rest(probabilities, labels)])
        return (precisions[1] if self.classes == 2 else precisions.mean()).to(torch.float32)
