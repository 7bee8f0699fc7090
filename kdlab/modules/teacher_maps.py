"""A teacher's attributions of all training samples, computed once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdlab.data.adopted import Data
from kdlab.explainers.base import Attribution
from kdlab.losses.numerics import dead
from kdlab.randomness import address, forked
from kdlab.records.soft_labels import SoftLabels, gather
from kdlab.teacher import Teacher


def frozen_maps(
    teacher: Teacher, explainer: Callable[[nn.Module], Attribution], data: Data, device: torch.device
) -> SoftLabels:
    """Attributions of the teacher's own class as a table by (index, view), in an order that is always the same.

    Raises:
        ValueError: If the samples are not numbered one by one.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    # What an explainer may draw must not shift what the student draws afterwards.
    with forked(address(0, "maps")), torch.no_grad():
        for on_cpu in data.every_batch(["train"]):
            batch = {name: value.to(device) for name, value in on_cpu.items()}
            explained = teacher.logits(batch).argmax(dim=1)
            maps = teacher.attributions(batch["inputs"], explained, explainer)
            pairs.append((batch["index"], maps.flatten(1)))
    return SoftLabels(gather(pairs, sum(len(index) for index, _ in pairs))).to(device)


def dead_maps(*maps: Tensor) -> Tensor:
    """How many samples have a map that the losses call dead, in any of these maps (batch, ...): a scalar.

    Such a map says nothing: a loss that compares it has no direction to teach.
    """
    return torch.stack([dead(values) for values in maps]).any(dim=0).sum()
