"""What a transformer attends to, and what it computes of it."""

import torch.nn.functional as F
from torch import Tensor, nn

from kdlab.losses.features.projected import Projected
from kdlab.losses.numerics import Features, check_alike, paired, total


class AttentionMaps(nn.Module):
    """Mean squared difference of attention weights: no unit, [0, 1] a layer, lower is better, minimum 0.

    ``mean((A_s - A_t)^2)`` over batch, heads, queries and keys, summed over the layer pairs; heads are averaged first
    where their numbers differ. Jiao et al. 2020 (TinyBERT), section 3.1, equation 7,
    https://arxiv.org/abs/1909.10351, who take the weights before the softmax. Name the layers with ``:weights``.
    Usual weight: 1.

    Raises:
        ValueError: When called, if the shapes differ in more than the heads.
    """

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from weights of shape (batch, heads, queries, keys) or (batch, queries, keys)."""
        values = []
        for student, teacher in paired(features, teacher_features):
            if student.shape != teacher.shape:
                student, teacher = (layer.mean(1) if layer.ndim == 4 else layer for layer in (student, teacher))
            check_alike(features=student, teacher_features=teacher)
            values.append(F.mse_loss(student, teacher))
        return total(values)


class HiddenStates(Projected):
    """Mean squared difference of token representations, the student's projected if narrower: minimum 0.

    ``mean((H_s W - H_t)^2)`` over batch, tokens and width, summed over the layer pairs, lower is better, where W is
    made by ``prepare`` if the widths differ and is the identity otherwise. Jiao et al. 2020 (TinyBERT), section 3.1,
    equation 8, https://arxiv.org/abs/1909.10351. Usual weight: 1.

    Raises:
        ValueError: When called, if tokens or, before ``prepare``, widths differ.
    """

    def __init__(self) -> None:
        super().__init__(axis=-1)

    def forward(self, features: Features, teacher_features: Features) -> Tensor:
        """Return a scalar from layers of shape (batch, tokens, width) or (batch, width)."""
        return total([F.mse_loss(ours, theirs) for ours, theirs in self.matching(features, teacher_features)])
