"""What stands for "not there" in an input."""

from collections.abc import Sequence

import torch
from torch import Tensor


def as_baseline(baseline: float | Sequence[float] | Tensor, inputs: Tensor) -> Tensor:
    """Return the baseline in the shape of one input, beside the inputs; a flat list is one input's values in order.

    Raises:
        ValueError: If it cannot be broadcast to one input.
    """
    tensor = torch.as_tensor(baseline, dtype=inputs.dtype, device=inputs.device)
    shape = inputs.shape[1:]
    if tensor.dim() == 1 and tensor.numel() == shape.numel():
        return tensor.reshape(shape)
    try:
        return tensor.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"baseline of shape {tuple(tensor.shape)} does not fit inputs of shape {tuple(shape)}"
        ) from None
