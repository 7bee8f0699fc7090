"""Accuracy: does the top class equal the label."""

from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_logits, check_target
from kdlab.metrics.numerics import blank


def hits(logits: Tensor, target: Tensor) -> Tensor:
    """Return 1 where the top class is the target, else 0: (batch,); NaN where a logit is NaN.

    Args:
        logits: (batch, classes). The first of equal logits is the top class.
        target: (batch,) class indices.
    """
    return blank(logits.argmax(dim=1) == target, ~logits.isnan().any(dim=1))


class Accuracy(PerSample):
    """Share of samples whose top class is the label: [0, 1], higher is better. Unlabelled ones (-1) are left out."""

    higher_is_better = True

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in logits (batch, classes) and targets (batch,).

        Raises:
            ValueError: If the shapes do not fit, or a target is no class.
        """
        check_logits(logits)
        check_target(target, logits)
        self.add(hits(logits, target), applies=target >= 0)
