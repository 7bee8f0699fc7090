"""The task's own loss."""

from collections.abc import Sequence

import torch
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
        class_weights: One a class, >= 0: the mean is weighted by that of each sample's class, as in torch's
            ``CrossEntropyLoss``, and class c's part of a smoothed target by its own. None: all alike.

    Raises:
        ValueError: If the smoothing is outside [0, 1), or a class weight is negative or all are zero; when called, if
            there is not one for each class.
    """

    weights: Tensor | None

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        if class_weights is not None and (min(class_weights, default=0.0) < 0 or sum(class_weights) <= 0):
            raise ValueError(f"class_weights must not be negative, and not all zero, got {list(class_weights)}")
        self.label_smoothing = label_smoothing
        # No part of what is saved: the configuration has them.
        self.register_buffer("weights", None if class_weights is None else torch.tensor(class_weights), False)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar from logits (batch, classes) and class numbers (batch,), -1 where unlabelled."""
        logits = at_least_float32(logits)
        weights = None if self.weights is None else self.weights.to(logits.dtype)
        if weights is not None and len(weights) != logits.shape[1]:
            raise ValueError(f"{len(weights)} class_weights for {logits.shape[1]} classes; give one for each")
        total = F.cross_entropy(
            logits, target, weights, ignore_index=-1, reduction="sum", label_smoothing=self.label_smoothing
        )
        # torch's own mean is NaN where every sample is ignored.
        if weights is None:
            return total / (target >= 0).sum().clamp(min=1)
        share = (weights[target.clamp(min=0)] * (target >= 0)).sum()
        return total / torch.where(share > 0, share, 1.0)
