"""A teacher's attributions of all training samples, computed once before training."""

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
    """Return attributions of the class that the teacher predicts, looked up by (index, view).

    The samples are explained in an order that is always the same.

    Raises:
        ValueError: If a sample's index is missing or occurs twice.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    # If the explainer draws random numbers, those that the student draws afterwards must stay the same.
    with forked(address(0, "maps")), torch.no_grad():
        for on_cpu in data.every_batch(["train"]):
            batch = {name: value.to(device) for name, value in on_cpu.items()}
            explained = teacher.logits(batch).argmax(dim=1)
            maps = teacher.attributions(batch["inputs"], explained, explainer)
            pairs.append((batch["index"], maps.flatten(1)))
    return SoftLabels(gather(pairs, sum(len(index) for index, _ in pairs))).to(device)


def dead_maps(*maps: Tensor) -> Tensor:
    """Return a scalar: how many samples have a map in any of these (batch, ...) that losses count as dead.

    A dead map says nothing: a loss that compares it has no direction to teach.
    """
    return torch.stack([dead(values) for values in maps]).any(dim=0).sum()
