"""A bound on the information that the student's layer keeps of the teacher's."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.features.projected import Projector
from kdlab.losses.numerics import Features, check_alike, paired, through, total


def gaussian_cost(mean: Tensor, variance: Tensor, teacher: Tensor) -> Tensor:
    """Return ``mean(0.5 * ((mean - teacher)^2 / variance + log variance))`` over all elements."""
    return 0.5 * ((mean - teacher).square() / variance + variance.log()).mean()


class VID(nn.Module):
    """Negative log-likelihood of the teacher's layer under a Gaussian predicted from the student's: lower is better.

    ``mean(0.5 * ((mu(F_s) - F_t)^2 / v + log v))`` over all elements, summed over the layer pairs, with v a variance
    a channel, ``softplus(a) + epsilon``, and mu three 1 x 1 convolutions with ReLU between. It can be negative; for
    given features the minimum over v is at the mean squared error of each channel. Ahn et al. 2019, the Gaussian
    bound with a variance a channel, https://arxiv.org/abs/1904.05835. mu and a are made by ``prepare``, trained with
    the student and not exported. Usual weight: 1.

    Args:
        initial_variance: v at the start, in squared activations, > epsilon.
        epsilon: Smallest variance, > 0.

    Raises:
        ValueError: If an argument is out of range, or, when called, if positions differ.
        RuntimeError: When called before ``prepare``, or with other layers.
    """

    def __init__(self, initial_variance: float = 5.0, epsilon: float = 1e-5) -> None:
        super().__init__()
        if not initial_variance > epsilon > 0:
            raise ValueError(f"need initial_variance > epsilon > 0, got {initial_variance} and {epsilon}")
        self.initial_variance = initial_variance
        self.epsilon = epsilon
        self.regressors = nn.ModuleList()
        self.scales = nn.ParameterList()

    def prepare(self, features: Features, teacher_features: Features) -> None:
        """Make a regressor and log-scales for each pair of layers (batch, channels, positions...)."""
        self.regressors, self.scales = nn.ModuleList(), nn.ParameterList()
        start = math.log(math.expm1(self.initial_variance - self.epsilon))
        for student, teacher in paired(features, teacher_features):
            channels, outputs = student.shape[1], teacher.shape[1]
            regressor = nn.Sequential(
                Projector(channels, outputs),
                nn.ReLU(),
                Projector(outputs, outputs),
                nn.ReLU(),
                Projector(outputs, outputs),
            )
            self.regressors.append(regressor.to(student.device, student.dtype))
            shape = (outputs,) + (1,) * (teacher.ndim - 2)
            self.scales.append(nn.Parameter(torch.full(shape, start, device=student.device, dtype=student.dtype)))

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, positions...) or (batch, channels)."""
        pairs = paired(features, teacher_features)
        if len(pairs) != len(self.regressors):
            raise RuntimeError(f"{len(pairs)} layers, but prepared for {len(self.regressors)}; call prepare first")
        values = []
        for regressor, scale, (student, teacher) in zip(self.regressors, self.scales, pairs, strict=True):
            mean = through(regressor, student)
            check_alike(features=mean, teacher_features=teacher)
            values.append(gaussian_cost(mean, F.softplus(scale.to(mean.dtype)) + self.epsilon, teacher))
        return total(values)
