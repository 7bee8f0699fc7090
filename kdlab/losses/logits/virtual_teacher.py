"""A control: a teacher that knows nothing but the label."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32


class VirtualTeacher(nn.Module):
    """Soft targets of a designed teacher that is right with a fixed probability: nats, lower is better, minimum 0.

    ``T^2 * KL(u^T || softmax(logits / T))``, mean over the labelled samples, where u has ``correct`` on the label,
    the rest shared equally by the other classes, and u^T is its softening ``softmax(log(u) / T)``. Yuan et al. 2020
    (teacher-free regularisation), https://arxiv.org/abs/1909.11723; their code softens u as if it were logits
    and the student not at all. Samples with a negative target take no part; if all are, the loss is a zero attached to
    the graph. Their self-training is a stage whose teacher is an earlier stage of the same model.

    Args:
        correct: Probability of the label, in (0, 1); at least 0.9 in the paper.
        temperature: T, no unit, > 0; 20 in the paper.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(self, correct: float = 0.99, temperature: float = 20.0) -> None:
        super().__init__()
        if not 0 < correct < 1:
            raise ValueError(f"correct must be in (0, 1), got {correct}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.correct = correct
        self.temperature = temperature

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar from logits (batch, classes) and class numbers (batch,), -1 where unlabelled."""
        student = F.log_softmax(at_least_float32(logits) / self.temperature, dim=1)
        labelled = target >= 0
        others = math.log((1 - self.correct) / max(logits.shape[1] - 1, 1))
        teacher = torch.full_like(student, others).scatter(1, target.clamp(min=0)[:, None], math.log(self.correct))
        divergence = F.kl_div(
            student, F.log_softmax(teacher / self.temperature, dim=1), log_target=True, reduction="none"
        ).sum(1)
        return self.temperature**2 * torch.where(labelled, divergence, 0.0).sum() / labelled.sum().clamp(min=1)
