"""A teacher's attributions of all training samples, computed once."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdlab.data.base import DataModule
from kdlab.data.loader import TensorLoader
from kdlab.explainers.base import Attribution
from kdlab.randomness import address, forked
from kdlab.soft_labels import SoftLabels, gather
from kdlab.teacher import Teacher


def frozen_maps(
    teacher: Teacher, explainer: Callable[[nn.Module], Attribution], data: DataModule, device: torch.device
) -> SoftLabels:
    """Attributions of the teacher's own class as a table by (index, view), in an order that is always the same.

    Raises:
        ValueError: If the samples are not numbered one by one.
    """

    def rows() -> list[tuple[Tensor, Tensor]]:
        found = []
        for batch in TensorLoader(data.splits["train"], data.evaluation_batch_size):
            batch = {name: value.to(device) for name, value in batch.items()}
            with torch.no_grad():
                explained = teacher.logits(batch).argmax(dim=1)
                maps = teacher.attributions(batch["inputs"], explained, explainer)
            found.append((batch["index"], maps.flatten(1)))
        return found

    # What an explainer may draw must not shift what the student draws afterwards.
    with forked(address(0, "maps")):
        table = gather(rows(), len(data.splits["train"]["index"]))
    return SoftLabels(table).to(device)


def dead_maps(*maps: Tensor) -> Tensor:
    """How many samples have a map that is zero everywhere, in any of these maps (batch, ...): a scalar.

    Such a map says nothing: a loss that compares it has no direction to teach.
    """
    dead = torch.zeros(len(maps[0]), dtype=torch.bool, device=maps[0].device)
    for one in maps:
        dead = dead | (one.detach() == 0).flatten(1).all(dim=1)
    return dead.sum()
