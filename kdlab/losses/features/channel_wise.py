"""Where each channel looks."""

import torch.nn.functional as F
from torch import Tensor

from kdlab.losses.features.projected import Projected
from kdlab.losses.numerics import Features, total


class ChannelWise(Projected):
    """KL divergence of each channel's softmax over positions, times T^2: nats, lower is better, minimum 0.

    ``T^2 * mean_{b,c} KL(softmax(F_t / T) || softmax(F_s / T))`` with the softmax over positions, summed over the
    layer pairs. Shu et al. 2021 (CWD), https://arxiv.org/abs/2011.13256. Student layers of other
    channels are projected by ``prepare``. Usual weight: 50 on logit maps with T = 4.

    Args:
        temperature: T, in units of the activation, > 0.

    Raises:
        ValueError: If the temperature is not positive, or, when called, if the shapes differ.
    """

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, positions...)."""
        values = []
        for student, teacher in self.matching(features, teacher_features):
            ours, theirs = (
                F.log_softmax(layer.flatten(2).flatten(0, 1) / self.temperature, dim=1) for layer in (student, teacher)
            )
            values.append(F.kl_div(ours, theirs, log_target=True, reduction="batchmean"))
        return self.temperature**2 * total(values)
