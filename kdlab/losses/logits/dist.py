"""Distillation by correlation, for teachers much stronger than the student."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.gather import gathered
from kdlab.losses.numerics import at_least_float32, check_alike, correlation


class DIST(nn.Module):
    """One minus the Pearson correlation of probabilities, over classes and over samples: [0, 4] x T^2, minimum 0.

    ``T^2 * [inter * (1 - mean_b r(row_b)) + intra * (1 - mean_c r(column_c))]``, lower is better, where r correlates
    the student's softmax at T with the teacher's. Huang et al. 2022, inter-class and intra-class relations,
    https://arxiv.org/abs/2205.10536; 1e-8 is added to the product of the lengths. A row or column without variance,
    as a column of a batch of one, has correlation 0 and so costs 1. The batch is that of all processes.

    Args:
        inter: Weight of the correlation over classes, >= 0 (the paper's beta; 2 there, 1 in its code for ImageNet).
        intra: Weight of the correlation over samples, >= 0 (gamma).
        temperature: T, no unit, > 0; 4 on CIFAR-100.

    Raises:
        ValueError: If an argument is out of range, or, when called, if the shapes differ.
    """

    def __init__(self, inter: float = 1.0, intra: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        if inter < 0 or intra < 0:
            raise ValueError(f"weights must not be negative, got {inter} and {intra}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.inter = inter
        self.intra = intra
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return a scalar from two tensors of shape (batch, classes)."""
        check_alike(logits=logits, teacher_logits=teacher_logits)
        logits, teacher_logits = gathered(at_least_float32(logits), at_least_float32(teacher_logits))
        student = F.softmax(logits / self.temperature, dim=1)
        teacher = F.softmax(teacher_logits / self.temperature, dim=1)
        rows = 1 - correlation(student, teacher, dim=1).mean()
        columns = 1 - correlation(student, teacher, dim=0).mean()
        return self.temperature**2 * (self.inter * rows + self.intra * columns)
