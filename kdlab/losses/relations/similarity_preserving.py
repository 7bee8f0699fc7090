"""Samples that the teacher activates alike."""

from torch import Tensor, nn

from kdlab.losses.numerics import Features, unit
from kdlab.losses.relations.embeddings import related


class SimilarityPreserving(nn.Module):
    """Squared difference of the row-normalised Gram matrices of samples: lower is better, minimum 0.

    ``||G_s - G_t||^2 / batch^2`` with ``G = F F^T`` of flattened layers, each row divided by its Euclidean length,
    summed over the layer pairs. Tung & Mori 2019, the similarity-preserving loss, https://arxiv.org/abs/1907.09682.
    The batch is that of all processes. Usual weight: 3000.

    Raises:
        ValueError: When called, if the batches differ, also between processes.
    """

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, ...), whose widths may differ."""
        return related(
            features,
            teacher_features,
            lambda student, teacher: (unit(student @ student.T) - unit(teacher @ teacher.T)).square().mean(),
        )
