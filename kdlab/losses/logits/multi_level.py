"""Predictions compared sample by sample, class by class and sample against sample."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.gather import gathered
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.losses.numerics import at_least_float32, check_alike, full_precision, total


class _Gram(nn.Module):
    """Two tensors of probabilities at a temperature, of the whole batch."""

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def probabilities(self, logits: Tensor, teacher_logits: Tensor) -> tuple[Tensor, Tensor]:
        check_alike(logits=logits, teacher_logits=teacher_logits)
        logits, teacher_logits = gathered(at_least_float32(logits), at_least_float32(teacher_logits))
        return F.softmax(logits / self.temperature, dim=1), F.softmax(teacher_logits / self.temperature, dim=1)


class ClassCorrelation(_Gram):
    """Squared difference of the classes' Gram matrices: no unit, lower is better, minimum 0.

    ``||P_s^T P_s - P_t^T P_t||^2 / classes`` with P = softmax(logits / T) (batch, classes); no T^2. Jin et al. 2023,
    class level,
    https://openaccess.thecvf.com/content/CVPR2023/html/Jin_Multi-Level_Logit_Distillation_CVPR_2023_paper.html. It
    grows with the square of the batch, which is that of all processes.

    Args:
        temperature: T, no unit, > 0.

    Raises:
        ValueError: If the temperature is not positive, or, when called, if the shapes differ.
    """

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return a scalar from two tensors of shape (batch, classes)."""
        student, teacher = self.probabilities(logits, teacher_logits)
        with full_precision(student):
            return (student.T @ student - teacher.T @ teacher).square().sum() / student.shape[1]


class BatchCorrelation(_Gram):
    """Squared difference of the samples' Gram matrices: no unit, lower is better, minimum 0.

    ``||P_s P_s^T - P_t P_t^T||^2 / batch`` with P = softmax(logits / T) (batch, classes); no T^2. Jin et al. 2023,
    batch level. The batch is that of all processes.

    Args:
        temperature: T, no unit, > 0.

    Raises:
        ValueError: If the temperature is not positive, or, when called, if the shapes differ.
    """

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return a scalar from two tensors of shape (batch, classes)."""
        student, teacher = self.probabilities(logits, teacher_logits)
        with full_precision(student):
            return (student @ student.T - teacher @ teacher.T).square().sum() / len(student)


class MultiLevelLogits(nn.Module):
    """Soft targets, batch correlation and class correlation, summed over several temperatures: minimum 0.

    ``sum_T [SoftTargets(T) + BatchCorrelation(T) + ClassCorrelation(T)]``, lower is better. Jin et al. 2023 (MLKD,
    prediction augmentation by the temperatures). To weigh the levels apart, name the three losses as terms of their
    own.

    Args:
        temperatures: Each T, no unit, > 0.

    Raises:
        ValueError: If there is no temperature or one is not positive, or, when called, if the shapes differ.
    """

    def __init__(self, temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0)) -> None:
        super().__init__()
        if not temperatures:
            raise ValueError("temperatures must name at least one")
        levels = (SoftTargets, BatchCorrelation, ClassCorrelation)
        self.levels = nn.ModuleList(level(temperature) for temperature in temperatures for level in levels)

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return a scalar from two tensors of shape (batch, classes)."""
        return total([level(logits, teacher_logits) for level in self.levels])
