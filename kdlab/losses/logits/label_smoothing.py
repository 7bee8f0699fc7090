"""A control: what a regulariser gains that has no teacher."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32


class LabelSmoothing(nn.Module):
    """KL divergence from the uniform distribution: nats, lower is smoother, minimum 0 at constant logits.

    ``KL(1 / classes || softmax(logits)) = -(1 / classes) sum_c log softmax(logits)_c - log(classes)``, mean over the
    batch, labelled or not. It is the part of label smoothing that knows no label (Szegedy et al. 2016, section 7,
    https://arxiv.org/abs/1512.00567): ``(1 - e) * CrossEntropy() + e * LabelSmoothing()`` is
    ``CrossEntropy(label_smoothing=e)`` less the constant ``e * log(classes)``. A distillation that does not beat it
    has only regularised. Usual weight: e / (1 - e) with e = 0.1.
    """

    def forward(self, logits: Tensor) -> Tensor:
        """Return a scalar from a tensor of shape (batch, classes)."""
        return -F.log_softmax(at_least_float32(logits), dim=1).mean() - math.log(logits.shape[1])
