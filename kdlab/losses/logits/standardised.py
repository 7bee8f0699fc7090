"""Logits on a common scale, for any loss that compares them."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32, centred, length


def standardised(logits: Tensor, epsilon: float = 1e-7) -> Tensor:
    """Return each row less its mean, divided by its deviation (of n - 1) plus epsilon; constant rows become zero."""
    deviations, floor = centred(at_least_float32(logits), dim=1)
    freedom = math.sqrt(max(logits.shape[1] - 1, 1))
    return deviations / (length(deviations, 1, floor) / freedom + epsilon)


class Standardised(nn.Module):
    """Another logit loss, taken of standardised logits, so that the student need not copy the teacher's scale.

    Each row of the student's and of the teacher's logits becomes ``(z - mean(z)) / (std(z) + 1e-7)``, with n - 1 in
    the deviation, before the loss sees them. Sun et al. 2024, algorithm 1,
    https://arxiv.org/abs/2403.01427. Range, direction and minimum are the loss's own; a shift or a scale of the
    logits costs nothing. It asks for the signals that the loss asks for. Usual weight 9 for soft targets at T = 2.

    Args:
        loss: Any loss on ``logits`` and, mostly, ``teacher_logits``, for instance ``SoftTargets(temperature=2.0)``.
        epsilon: Added to the deviation, > 0.

    Raises:
        ValueError: If the loss asks for no logits or epsilon is not positive.
    """

    def __init__(self, loss: nn.Module, epsilon: float = 1e-7) -> None:
        super().__init__()
        if not epsilon > 0:
            raise ValueError(f"epsilon must be positive, got {epsilon}")
        if "logits" not in inspect.signature(loss.forward).parameters:
            raise ValueError(f"{type(loss).__name__} asks for no logits, so there is nothing to standardise")
        self.loss = loss
        self.forward = _Forward(loss, epsilon)


class _Forward:
    """The loss's forward, with its signature, on standardised logits."""

    def __init__(self, loss: nn.Module, epsilon: float) -> None:
        self.loss = loss
        self.epsilon = epsilon
        self.__signature__ = inspect.signature(loss.forward)

    def __call__(self, *arguments: Any, **named: Any) -> Tensor:  # noqa: ANN401  what the loss takes
        bound_arguments: Mapping[str, Any] = self.__signature__.bind(*arguments, **named).arguments
        scaled = {
            name: standardised(value, self.epsilon) if name in ("logits", "teacher_logits") else value
            for name, value in bound_arguments.items()
        }
        value: Tensor = self.loss(**scaled)
        return value
