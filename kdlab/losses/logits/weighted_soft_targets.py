"""Soft targets where the student still has something to learn from them."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.logits.labels import known_or_predicted
from kdlab.losses.numerics import at_least_float32, check_alike


class WeightedSoftTargets(nn.Module):
    """Cross-entropy with the teacher, weighted by how much worse than it the student knows the label: nats.

    ``T^2 * mean_b w_b * H(p_t^T, p_s^T)`` with ``w = 1 - exp(-CE_s / (CE_t + 1e-7))``, the cross-entropies with the
    label at T = 1 and no gradient through w. Lower is better; the minimum is not zero, since H is the teacher's
    entropy for a perfect student. Zhou et al. 2021 (WSLD), https://arxiv.org/abs/2102.00650. An
    unlabelled sample's label is the teacher's prediction. Usual weight: 2.5 with T = 2.

    Args:
        temperature: T, no unit, > 0.

    Raises:
        ValueError: If the temperature is not positive, or, when called, if the shapes differ.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher_logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar from two tensors (batch, classes) and class numbers (batch,), -1 where unlabelled."""
        check_alike(logits=logits, teacher_logits=teacher_logits)
        student, teacher = at_least_float32(logits), at_least_float32(teacher_logits)
        classes = known_or_predicted(target, teacher_logits)
        own = F.cross_entropy(student.detach(), classes, reduction="none")
        theirs = F.cross_entropy(teacher.detach(), classes, reduction="none")
        weights = -(-own / (theirs + 1e-7)).expm1()
        soft = F.softmax(teacher / self.temperature, dim=1)
        losses = -(soft * F.log_softmax(student / self.temperature, dim=1)).sum(1)
        return self.temperature**2 * (weights * losses).mean()
