"""Distillation without a softmax."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32, check_alike


class LogitMSE(nn.Module):
    """Mean squared difference of the logits: squared logits, lower is better, minimum 0.

    ``mean((logits / T - teacher_logits / T)^2)`` over batch and classes. Ba & Caruana 2014, regression on logits,
    https://arxiv.org/abs/1312.6184; at T = 1 it is theirs. Unlike a softmax it fixes the logits' common shift as
    well.

    Args:
        temperature: T, no unit, > 0; divides the loss by T^2.

    Raises:
        ValueError: If the temperature is not positive, or, when called, if the shapes differ.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, logits: Tensor, teacher_logits: Tensor) -> Tensor:
        """Return a scalar from two tensors of shape (batch, classes)."""
        check_alike(logits=logits, teacher_logits=teacher_logits)
        return F.mse_loss(
            at_least_float32(logits) / self.temperature, at_least_float32(teacher_logits) / self.temperature
        )
