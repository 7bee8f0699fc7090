"""Student features that a discriminator cannot tell from the teacher's."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.features.projected import Projected
from kdlab.losses.numerics import Features, through, total


class _Reverse(torch.autograd.Function):
    """The identity, whose gradient changes sign and size."""

    @staticmethod
    def forward(ctx: Any, layer: Tensor, factor: float) -> Tensor:  # noqa: ANN401  torch types the context loosely
        ctx.factor = factor
        return layer.view_as(layer)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401  as above
        return -ctx.factor * gradients[0], None


class AdversarialFeatures(Projected):
    """Cross-entropy of a discriminator between teacher and student features, reversed for the student: nats.

    ``mean softplus(-d(F_t)) + mean softplus(d(F_s))``, summed over the layer pairs, where d is a small network on
    position-averaged features. The discriminator descends it and the student, behind a gradient reversal, ascends it,
    in one step of one optimiser: the value tells who leads, 2 log 2 a layer where nothing can be told apart, which no
    discriminator can undercut for a perfect student. Ganin & Lempitsky 2015, section 3,
    https://arxiv.org/abs/1409.7495, for the reversal; Xu et al. 2018, https://arxiv.org/abs/1709.00513,
    for the discriminator in distillation. The discriminator, and a projector where channels differ, are made by
    ``prepare``, trained with the student and not exported.

    Args:
        reversal: Size of the student's gradient relative to the discriminator's, no unit, > 0.
        hidden: Units of the discriminator's hidden layer, > 0.

    Raises:
        ValueError: If an argument is not positive, or, when called, if batches or channels differ.
        RuntimeError: When called before ``prepare``.
    """

    def __init__(self, reversal: float = 1.0, hidden: int = 64) -> None:
        super().__init__()
        if not reversal > 0 or hidden < 1:
            raise ValueError(f"reversal and hidden must be positive, got {reversal} and {hidden}")
        self.reversal = reversal
        self.hidden = hidden
        self.discriminators = nn.ModuleList()

    def prepare(self, features: Features, teacher_features: Features) -> None:
        """Make a discriminator and, where channels differ, a projector for each pair of layers."""
        super().prepare(features, teacher_features)
        self.discriminators = nn.ModuleList(
            nn.Sequential(nn.Linear(teacher.shape[1], self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1)).to(
                student.device, student.dtype
            )
            for student, teacher in self.projected(features, teacher_features)
        )

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, positions...) or (batch, channels)."""
        pairs = self.projected(features, teacher_features)
        if len(pairs) != len(self.discriminators):
            raise RuntimeError(f"{len(pairs)} layers, but prepared for {len(self.discriminators)}; call prepare first")
        values = []
        for discriminator, (student, teacher) in zip(self.discriminators, pairs, strict=True):
            hidden_student = reverse(pooled_positions(student), self.reversal)
            values.append(F.softplus(through(discriminator, hidden_student)).mean())
            values.append(F.softplus(-through(discriminator, pooled_positions(teacher))).mean())
        return total(values)


def reverse(layer: Tensor, factor: float) -> Tensor:
    """Return the layer itself, whose gradient is multiplied by -factor."""
    reversed_layer: Tensor = _Reverse.apply(layer, factor)  # type: ignore[no-untyped-call]  # torch's
    return reversed_layer


def pooled_positions(layer: Tensor) -> Tensor:
    """Return (batch, channels), the mean over positions."""
    return layer.flatten(2).mean(2) if layer.ndim > 2 else layer
