"""Where the feature maps are active, without asking for equal channels."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.features.pooling import pooled_alike
from kdlab.losses.numerics import Features, at_least_float32, paired, total, unit


class AttentionTransfer(nn.Module):
    """Squared difference of normalised activation maps: no unit, lower is better, minimum 0.

    ``mean((a_s - a_t)^2)`` over batch and positions, summed over the layer pairs, where a is the flattened map
    ``mean_channels |F|^p``, divided by its Euclidean length. The larger of two maps is average-pooled to the smaller
    before the power. A map that is zero everywhere stays zero. Zagoruyko & Komodakis 2017, section 3.1,
    https://arxiv.org/abs/1612.03928; the squared mean is their code's, where equation 2 has an unsquared norm. Usual
    weight: 1000.

    Args:
        p: Power of the activations, >= 1; the greater, the more the strongest channel counts.

    Raises:
        ValueError: If p is less than 1, or, when called, if a layer has no positions or the batches differ.
    """

    def __init__(self, p: float = 2.0) -> None:
        super().__init__()
        if not p >= 1:
            raise ValueError(f"p must be at least 1, got {p}")
        self.p = p

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, positions...)."""
        values = []
        for student, teacher in paired(features, teacher_features):
            student, teacher = pooled_alike(student, teacher)
            values.append(F.mse_loss(self.attention(student), self.attention(teacher)))
        return total(values)

    def attention(self, layer: Tensor) -> Tensor:
        """Return maps (batch, positions) of length 1 from a layer's output."""
        return unit(at_least_float32(layer).abs().pow(self.p).mean(1).flatten(1))
