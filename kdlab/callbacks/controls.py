"""Controls: attributions that know nothing of what the model learnt, which are scored beside the model's own."""

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


def moved(attributions: Tensor, index: Tensor) -> Tensor:
    """Return the same attributions in wrong places; a sample's are the same in every run, in whatever batch it is.

    A map (images, series) is shifted within its frame, the same way in all channels; what leaves it on one side comes
    back on the other. It keeps its grain, says nothing about places, and is never left where it was. Noise would be no
    control, because without grain it scores better or worse than any connected map for that reason alone. A table's
    values, and those of a map with a single place, are permuted, and every order is equally likely, the old one
    included: if the old one were excluded, two values would always be swapped, which mirrors them and is no control. A
    single value cannot be moved and becomes NaN.

    Args:
        attributions: (batch, features), or (batch, channels, ...) with one spatial axis or more.
        index: (batch,), the number of each sample, which seeds its move.
    """
    rows = [_moved(row, address(0, "moved", number)) for row, number in zip(attributions, index.tolist(), strict=True)]
    return torch.stack(rows) if rows else attributions.clone()


def _moved(row: Tensor, seed: int) -> Tensor:
    generator, frame = torch.Generator().manual_seed(seed), row.shape[1:]
    if frame.numel() > 1:
        place = int(torch.randint(1, frame.numel(), (), generator=generator))
        shifts = [int(shift) for shift in torch.unravel_index(torch.tensor(place), frame)]
        return row.roll(shifts, tuple(range(1, row.dim())))
    values = row.flatten()
    if len(values) == 1:
        return torch.full_like(row, torch.nan)
    # Drawn on the CPU, so that the order is the same on every device.
    order = torch.randperm(len(values), generator=generator)
    return values[order.to(values.device)].reshape(row.shape)


def shuffled(attributions: Tensor, explained: Tensor, index: Tensor) -> Tensor:
    """Return for each sample the attributions of another sample of its class; NaN if there is no other.

    Within each class, the samples are put into a random order that is the same in every run, and each gets the
    attributions of the next one. The order of the samples in the batch makes no difference.

    Args:
        attributions: (batch, ...), of the teacher.
        explained: (batch,), the class that they explain.
        index: (batch,), the number of each sample, all different.
    """
    moved_attributions = torch.full_like(attributions, torch.nan)
    for number in sorted(set(explained.tolist())):
        members = (explained == number).nonzero().flatten()
        members = members[index[members].argsort()]
        generator = torch.Generator().manual_seed(address(0, "shuffled", number))
        members = members[torch.randperm(len(members), generator=generator).to(members.device)]
        if len(members) > 1:
            moved_attributions[members] = attributions[members.roll(-1)]
    return moved_attributions


def untrained(model: nn.Module) -> nn.Module | None:
    """Return a copy in eval mode with every layer's weights drawn anew, the same in every run; None if none can be.

    Layers draw their weights by their own ``reset_parameters``; parameters outside of such layers stay as they were.
    """
    # Weights copied under inference mode could not be explained by gradients.
    with torch.inference_mode(False), forked(address(0, "untrained")):
        copy = deepcopy(model).requires_grad_(True)
        for module in copy.modules():
            if isinstance(module, nn.MultiheadAttention):
                module._reset_parameters()  # torch has no public name for it
            elif isinstance(module, Resets):
                module.reset_parameters()
    pairs = zip(model.parameters(), copy.parameters(), strict=True)
    return copy.eval() if any(not torch.equal(old, new) for old, new in pairs) else None
