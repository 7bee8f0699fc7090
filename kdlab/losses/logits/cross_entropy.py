"""The task's own loss."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32


class CrossEntropy(nn.Module):
    """Cross-entropy with the labels, mean over the labelled samples: nats, lower is better, minimum 0 unsmoothed.

    ``-sum_c q_c log softmax(logits)_c`` with ``q = (1 - e) onehot(target) + e / classes``, where e is the smoothing
    (Szegedy et al. 2016, section 7, https://arxiv.org/abs/1512.00567). Samples with target -1 are unlabelled
    and take no part; if all are, the loss is a zero that is still attached to the graph. Across processes the mean is
    over each process's own labelled samples.

    Args:
        label_smoothing: e, a probability in [0, 1).

    Raises:
        ValueError: If the smoothing is outside [0, 1).
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar from logits (batch, classes) and class numbers (batch,), -1 where unlabelled."""
        total = F.cross_entropy(
            at_least_float32(logits), target, ignore_index=-1, reduction="sum", label_smoothing=self.label_smoothing
        )
        # torch's own mean is NaN where every sample is ignored.
        return total / (target >= 0).sum().clamp(min=1)
