"""How far samples are from each other."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.numerics import Features
from kdlab.losses.relations.embeddings import distances, products, related


class RKDDistance(nn.Module):
    """Huber difference of the samples' distances, relative to their mean: lower is better, minimum 0.

    ``mean_ij huber(d_ij / mu - d'_ij / mu')`` with d the Euclidean distances of flattened layers, mu the mean of the
    positive ones and Huber's bend at 1; the mean is over all batch^2 pairs with the diagonal, the layer pairs are
    summed. Park et al. 2019, section 3.2.1, https://arxiv.org/abs/1904.05068 (sums there). Equal
    samples have distance 0, without gradient. The batch is that of all processes. Usual weight: 25.

    Raises:
        ValueError: When called, if the batches differ, also between processes.
    """

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, ...), whose widths may differ."""
        return related(
            features,
            teacher_features,
            lambda student, teacher: F.smooth_l1_loss(relative_distances(student), relative_distances(teacher)),
        )


def relative_distances(vectors: Tensor) -> Tensor:
    """Return distances (batch, batch) divided by the mean of the positive ones; all zero if there is none."""
    apart = distances(products(vectors))
    count = (apart > 0).sum()
    mean = apart.sum() / count.clamp(min=1)
    return apart / mean.where(count > 0, 1.0)
