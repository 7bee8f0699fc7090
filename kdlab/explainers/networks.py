"""Building blocks of learned explainers."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def fully_connected(inputs: int, hidden: Sequence[int], outputs: int) -> nn.Sequential:
    """Return linear layers with GELU between them, smooth so that slopes of the explainer are too.

    Raises:
        ValueError: If a size is not positive.
    """
    sizes = [inputs, *hidden, outputs]
    if min(sizes) < 1:
        raise ValueError(f"sizes must be positive, got {inputs} inputs, hidden {list(hidden)}, {outputs} outputs")
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers[:-1])
