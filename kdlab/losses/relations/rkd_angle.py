"""The angles that samples form with each other."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kdlab.losses.numerics import Features
from kdlab.losses.relations.embeddings import distances, products, related


class RKDAngle(nn.Module):
    """Huber difference of the cosines at each sample between any two others: lower is better, minimum 0.

    ``mean_ijk huber(c_ijk - c'_ijk)`` with c the cosine between ``x_j - x_i`` and ``x_k - x_i`` of flattened layers
    and Huber's bend at 1; the mean is over all batch^3 triplets, whose degenerate ones have cosine 0, the layer pairs
    are summed. Park et al. 2019, section 3.2.2, https://arxiv.org/abs/1904.05068 (sums there). The batch is that
    of all processes. Cosines follow from inner products and are recomputed on the way back, a few samples at a time:
    time grows with batch^3 + batch^2 * width, memory with batch^2 + batch * width. Usual weight: 50.

    Args:
        chunk: Cosines that are held at a time, > 0, but at least batch^2.

    Raises:
        ValueError: If the chunk is not positive, or, when called, if the batches differ, also between processes.
    """

    def __init__(self, chunk: int = 2**20) -> None:
        super().__init__()
        if chunk < 1:
            raise ValueError(f"chunk must be positive, got {chunk}")
        self.chunk = chunk

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, ...), whose widths may differ."""
        return related(features, teacher_features, self.angles)

    def angles(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the value of one pair of embeddings (batch, width)."""
        ours, theirs = products(student), products(teacher)
        apart, teacher_apart = distances(ours), distances(theirs)
        value = ours.new_zeros(())
        step = max(1, self.chunk // len(student) ** 2)
        for start in range(0, len(student), step):
            rows = slice(start, start + step)
            part = checkpoint(
                huber_of_cosines,
                ours,
                apart,
                theirs,
                teacher_apart,
                rows,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            value = value + part
        return value / len(student) ** 3


def huber_of_cosines(inner: Tensor, apart: Tensor, other_inner: Tensor, other_apart: Tensor, rows: slice) -> Tensor:
    """Return the sum of Huber's loss over the triplets whose middle is in ``rows``."""
    ours, theirs = cosines(inner, apart, rows), cosines(other_inner, other_apart, rows)
    return F.smooth_l1_loss(ours, theirs, reduction="sum")


def cosines(inner: Tensor, apart: Tensor, rows: slice) -> Tensor:
    """Return (rows, batch, batch) cosines between ``x_j - x_i`` and ``x_k - x_i``, zero where one of them is zero."""
    to_others = inner[rows]
    own = inner.diagonal()[rows]
    dots = inner - to_others[:, :, None] - to_others[:, None, :] + own[:, None, None]
    alive = apart[rows] > 0
    inverse = torch.where(alive, 1 / torch.where(alive, apart[rows], torch.ones_like(apart[rows])), 0.0)
    return dots * inverse[:, :, None] * inverse[:, None, :]
