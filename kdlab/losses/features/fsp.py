"""How the teacher's features flow from one stage to the next."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlab.losses.features.pooling import pooled_alike
from kdlab.losses.features.projected import Projected
from kdlab.losses.numerics import Features, check_alike, full_precision, total


class FSP(Projected):
    """Squared difference of the Gram matrices between successive layers: lower is better, minimum 0.

    ``mean((G_s - G_t)^2)`` over batch and channel pairs, summed over successive layers, where
    ``G = F1 F2^T / positions`` of flattened layers F1 (channels, positions) and F2 (channels', positions); the larger
    map is average-pooled to the smaller. Yim et al. 2017, equations 1 and 2,
    https://openaccess.thecvf.com/content_cvpr_2017/html/Yim_A_Gift_From_CVPR_2017_paper.html. Student layers of other
    channels than the teacher's are projected by ``prepare``. Usual weight: 50.

    Raises:
        ValueError: When called, if there are fewer than two layers, or channels differ before ``prepare``.
    """

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from two or more layers of shape (batch, channels, positions...)."""
        pairs = self.projected(features, teacher_features)
        if len(pairs) < 2:
            raise ValueError(f"FSP compares successive layers and needs at least two, got {len(pairs)}")
        values = []
        for (student, teacher), (next_student, next_teacher) in itertools.pairwise(pairs):
            ours, theirs = flow(student, next_student), flow(teacher, next_teacher)
            check_alike(features=ours, teacher_features=theirs)
            values.append(F.mse_loss(ours, theirs))
        return total(values)


def flow(first: Tensor, second: Tensor) -> Tensor:
    """Return Gram matrices (batch, channels, channels') between two layers, mean over positions."""
    first, second = (layer.flatten(2) for layer in pooled_alike(first, second))
    with full_precision(first):
        return torch.bmm(first, second.transpose(1, 2)) / first.shape[2]
