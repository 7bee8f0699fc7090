"""Negative log-likelihood: how surprised the model is by the labels."""

import torch.nn.functional as F
from torch import Tensor

from kdlab.metrics.base import PerSample
from kdlab.metrics.checks import check_logits, check_target
from kdlab.metrics.numerics import at_least_float32


def surprise(logits: Tensor, target: Tensor) -> Tensor:
    """Return ``-log softmax(logits)[target]`` in nats: (batch,); NaN where the target is -1 or a logit is NaN.

    Args:
        logits: (batch, classes).
        target: (batch,) class indices, -1 = unlabelled.
    """
    log_probabilities = F.log_softmax(at_least_float32(logits), dim=1)
    chosen = log_probabilities.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    return (-chosen).masked_fill(target < 0, float("nan"))


class NegativeLogLikelihood(PerSample):
    """Mean of ``-log p(label)``: nats, >= 0, lower is better. Unlabelled samples (-1) are left out."""

    higher_is_better = False

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Take in logits (batch, classes) and targets (batch,).

        Raises:
            ValueError: If the shapes do not fit, or a target is no class.
        """
        check_logits(logits)
        check_target(target, logits)
        self.add(surprise(logits, target), applies=target >= 0)
