"""A teacher's attributions of all training samples, computed once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdlab.data.base import DataModule
from kdlab.explainers.base import Attribution
from kdlab.losses.numerics import dead
from kdlab.randomness import address, forked
from kdlab.records.soft_labels import SoftLabels, gather
from kdlab.teacher import Teacher


def frozen_maps(
    teacher: Teacher, explainer: Callable[[nn.Module], Attribution], data: DataModule, device: torch.device
) -> SoftLabels:
    """Attributions of the teacher's own class as a table by (index, view), in an order that is always the same.

    Raises:
        ValueError: If the samples are not numbered one by one.
    """

    def explained_samples() -> list[tuple[Tensor, Tensor]]:
        batches = []
        samples = data.splits["train"]
        # Every process needs the maps of all samples, so this is no loader, which would give each its share.
        for first in range(0, len(samples["index"]), data.evaluation_batch_size):
            rows = slice(first, first + data.evaluation_batch_size)
            batch = {name: value[rows].to(device) for name, value in samples.items()}
            with torch.no_grad():
                explained = teacher.logits(batch).argmax(dim=1)
                maps = teacher.attributions(batch["inputs"], explained, explainer)
            batches.append((batch["index"], maps.flatten(1)))
        return batches

    # What an explainer may draw must not shift what the student draws afterwards.
    with forked(address(0, "maps")):
        table = gather(explained_samples(), len(data.splits["train"]["index"]))
    return SoftLabels(table).to(device)


def dead_maps(*maps: Tensor) -> Tensor:
    """How many samples have a map that the losses call dead, in any of these maps (batch, ...): a scalar.

    Such a map says nothing: a loss that compares it has no direction to teach.
    """
    return torch.stack([dead(values) for values in maps]).any(dim=0).sum()
