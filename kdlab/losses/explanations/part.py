"""The attributed part of an input, kept or taken away in a way that can be differentiated."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from kdlab.losses.numerics import at_least_float32, dead


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode, each of its modules back in its own mode afterwards.

    Inputs with missing parts would otherwise enter the statistics of its normalisations.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def soft_part(attributions: Tensor, share: float, sharpness: float) -> Tensor:
    """Return in [0, 1] how far each element belongs to the strongest ``share`` of its sample.

    ``sigmoid(sharpness * (|A| - q) / s)``, where q is the sample's quantile of |A| that leaves the share above it and
    s the mean of |A|: scale does not matter. A map that is zero everywhere gives 1/2 everywhere.
    """
    strengths = at_least_float32(attributions).abs().flatten(1)
    kept = max(1, round(share * strengths.shape[1]))
    ranked = strengths.sort(dim=1, descending=True).values
    threshold = (ranked[:, kept - 1, None] + ranked[:, min(kept, strengths.shape[1] - 1), None]) / 2
    scale = strengths.mean(1, keepdim=True)
    part = torch.sigmoid(sharpness * (strengths - threshold) / torch.where(dead(strengths)[:, None], 1.0, scale))
    return part.view(attributions.shape)


def mixed(inputs: Tensor, baseline: Tensor, part: Tensor) -> Tensor:
    """Return the inputs where the part is 1 and the baseline where it is 0."""
    part = part.to(inputs.dtype)
    return inputs * part + baseline.to(inputs.dtype) * (1 - part)


def check_share(share: float, sharpness: float) -> None:
    """Refuse a share outside (0, 1) or a sharpness that is not positive.

    Raises:
        ValueError: With the value.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be in (0, 1), got {share}")
    if not sharpness > 0:
        raise ValueError(f"sharpness must be positive, got {sharpness}")
