"""Controls: attributions that know nothing of what the model learnt, scored beside its own."""

from copy import deepcopy
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from kdlab.randomness import address, forked


@runtime_checkable
class Resets(Protocol):
    """A module that can draw its weights anew, as torch's layers do."""

    def reset_parameters(self) -> None:
        """Draw the module's own weights, not those of modules inside it."""
        ...


def random_attributions(attributions: Tensor) -> Tensor:
    """What no explanation looks like: normal noise, the same in every run, of the same shape."""
    noise = torch.randn(attributions.shape, generator=torch.Generator().manual_seed(0))
    return noise.to(attributions)


def untrained(model: nn.Module) -> nn.Module | None:
    """A copy in eval mode with every layer's weights drawn anew, the same in every run; None where none can be.

    Layers draw by their own ``reset_parameters``; parameters that stand outside such layers stay as they were.
    """
    # Weights copied under inference mode could not be explained by gradients.
    with torch.inference_mode(False), forked(address(0, "untrained")):
        copy = deepcopy(model).requires_grad_(True)
        for module in copy.modules():
            if isinstance(module, nn.MultiheadAttention):
                module._reset_parameters()  # has no public name
            elif isinstance(module, Resets):
                module.reset_parameters()
    pairs = zip(model.parameters(), copy.parameters(), strict=True)
    return copy.eval() if any(not torch.equal(old, new) for old, new in pairs) else None
