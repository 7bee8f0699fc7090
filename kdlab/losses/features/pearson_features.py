"""Feature maps compared up to each channel's scale and shift."""

import math

import torch.nn.functional as F
from torch import Tensor

from kdlab.losses.features.projected import Projected
from kdlab.losses.numerics import Features, centred, length, total


class PearsonFeatures(Projected):
    """Half the mean squared difference of standardised channels: about one minus their correlation, minimum 0.

    ``mean((n(F_s) - n(F_t))^2) / 2`` with ``n(F) = (F - mean) / (std + 1e-6)`` of each channel over batch and
    positions (n - 1 in the deviation), summed over the layer pairs; lower is better. Cao et al. 2022 (PKD),
    https://arxiv.org/abs/2207.02039. The statistics are those of the process's own batch. A channel without variance
    becomes zero. Student layers of other channels are projected by ``prepare``. Usual weight: 6 to 10.

    Raises:
        ValueError: When called, if the shapes differ.
    """

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, positions...) or (batch, channels)."""
        values = []
        for student, teacher in self.matching(features, teacher_features):
            values.append(F.mse_loss(standardised_channels(student), standardised_channels(teacher)) / 2)
        return total(values)


def standardised_channels(layer: Tensor) -> Tensor:
    """Return (channels, batch * positions) with mean 0 and deviation 1."""
    deviations, floor = centred(layer.transpose(0, 1).flatten(1), dim=1)
    freedom = math.sqrt(max(deviations.shape[1] - 1, 1))
    return deviations / (length(deviations, 1, floor) / freedom + 1e-6)
