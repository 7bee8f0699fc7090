"""The oldest feature loss: imitate the teacher's layer."""

import torch.nn.functional as F
from torch import Tensor

from kdlab.losses.features.pooling import pooled_alike
from kdlab.losses.features.projected import Projected
from kdlab.losses.numerics import Features, check_alike, total


class FitNets(Projected):
    """Mean squared difference of the layers, the student's projected if its channels differ: minimum 0.

    ``mean((r(F_s) - F_t)^2)`` over all elements, summed over the layer pairs (lower is better), where r is a 1 x 1
    convolution without bias that ``prepare`` makes, or the identity for equal channels. The larger of two maps is
    average-pooled to the smaller. Romero et al. 2015, section 2.2, equation 3, https://arxiv.org/abs/1412.6550 (half
    the sum there). Usual weight: 100.

    Raises:
        ValueError: When called, if batches or, before ``prepare``, channels differ.
    """

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, positions...) or (batch, channels)."""
        values = []
        for student, teacher in self.projected(features, teacher_features):
            if student.shape[2:] != teacher.shape[2:]:
                student, teacher = pooled_alike(student, teacher)
            check_alike(features=student, teacher_features=teacher)
            values.append(F.mse_loss(student, teacher))
        return total(values)
