"""Which neurons of the teacher are active at all."""

import torch
from torch import Tensor

from kdlab.losses.features.projected import Projected
from kdlab.losses.numerics import Features, total


class ActivationBoundary(Projected):
    """Squared hinge on the sign of the teacher's pre-activations: lower is better.

    ``sum over elements of [t > 0] max(m - s, 0)^2 + [t <= 0] max(m + s, 0)^2``, divided by the batch and summed over
    the layer pairs, with pre-activations s and t and margin m. Zero once every neuron is on the teacher's side by the
    margin, which the teacher itself need not be. Heo et al. 2019, the squared alternative loss,
    https://arxiv.org/abs/1811.03233. Student layers of other channels are projected by ``prepare``. Usual weight: 3 /
    1000 of their sum over layers, which are weighted 2^(i - n + 1) from shallow to deep, as terms of their own.

    Args:
        margin: m, in units of the activation, > 0.

    Raises:
        ValueError: If the margin is not positive, or, when called, if the shapes differ.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        if not margin > 0:
            raise ValueError(f"margin must be positive, got {margin}")
        self.margin = margin

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers (batch, channels, ...) before their activation function."""
        values = []
        for student, teacher in self.matching(features, teacher_features):
            side = torch.where(teacher > 0, 1.0, -1.0)
            values.append((self.margin - side * student).clamp(min=0).square().sum() / len(student))
        return total(values)
