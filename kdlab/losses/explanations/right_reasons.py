"""A student that looks where a person says that the evidence lies."""

import torch
from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32, dead


class RightReasons(nn.Module):
    """Squared attributions outside the mask: lower is better, minimum 0 when all evidence lies inside.

    ``mean_b sum_i ((1 - mask_i) * A_i)^2``, or, if ``relative``, that sum divided by ``sum_i A_i^2``: the share of
    squared attributions outside, in [0, 1], which shrinking the gradients does not lower. Ross et al. 2017, the
    right-reasons term, https://arxiv.org/abs/1703.03717, where A is the gradient of the summed log-probabilities and
    the mask its complement. A map that is zero everywhere costs nothing. Usual weight: so that the term is about the
    cross-entropy's size.

    Args:
        relative: Whether to take the share instead of the sum.

    Raises:
        ValueError: When called, if the mask does not broadcast to the attributions.
    """

    def __init__(self, relative: bool = True) -> None:
        super().__init__()
        self.relative = relative

    def forward(self, attributions: Tensor, mask: Tensor) -> Tensor:
        """Return a scalar from attributions (batch, ...) and a mask in [0, 1] with all channels, one or none."""
        values = at_least_float32(attributions)
        if mask.ndim == values.ndim - 1:
            mask = mask[:, None]
        try:
            inside = mask.to(values.dtype).expand_as(values)
        except RuntimeError:
            raise ValueError(f"mask of shape {tuple(mask.shape)} does not fit {tuple(values.shape)}") from None
        squares = values.flatten(1).square()
        outside = ((1 - inside).flatten(1).square() * squares).sum(1)
        if not self.relative:
            return outside.mean()
        everything = squares.sum(1)
        return (outside / torch.where(dead(values), 1.0, everything)).mean()
