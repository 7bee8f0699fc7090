"""Where channels are active, compared as distributions."""

import torch
from torch import Tensor, nn

from kdlab.losses.features.pooling import pooled_alike
from kdlab.losses.numerics import Features, full_precision, paired, total, unit


class NST(nn.Module):
    """Maximum mean discrepancy of the channels' normalised maps, polynomial kernel: lower is better, minimum 0.

    ``mean k(f_s, f_s') + mean k(f_t, f_t') - 2 mean k(f_s, f_t)`` over batch and channel pairs, with
    ``k(a, b) = (a . b)^2`` and each channel's flattened map divided by its length, summed over the layer pairs.
    Channels may differ; the larger map is average-pooled to the smaller. Huang & Wang 2017, polynomial kernel,
    https://arxiv.org/abs/1707.01219. Memory is at most that of the layers. Usual weight: 50.

    Raises:
        ValueError: When called, if a layer has no positions or the batches differ.
    """

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, channels, positions...)."""
        values = []
        for student, teacher in paired(features, teacher_features):
            student, teacher = (unit(layer.flatten(2), dim=2) for layer in pooled_alike(student, teacher))
            with full_precision(student):
                own, theirs = mean_kernel(student, student), mean_kernel(teacher, teacher)
                values.append(own + theirs - 2 * mean_kernel(student, teacher))
        return total(values)


def mean_kernel(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean of ``(a . b)^2`` over batch and channel pairs of (batch, channels, positions).

    The sum over pairs is that of squares of ``A B^T`` and also the trace of ``A^T A B^T B``: the smaller product is
    taken.
    """
    positions = first.shape[2]
    pairs = first.shape[1] * second.shape[1]
    if pairs <= positions**2:
        return torch.bmm(first, second.transpose(1, 2)).square().mean()
    first_moments = torch.bmm(first.transpose(1, 2), first)
    second_moments = torch.bmm(second.transpose(1, 2), second)
    return (first_moments * second_moments).sum() / (len(first) * pairs)
