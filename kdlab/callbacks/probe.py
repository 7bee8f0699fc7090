"""The samples that are explained, and the value that stands for an absent feature in them."""

from collections.abc import Iterable

import torch
from torch import Tensor

from kdlab.data.adopted import Data
from kdlab.data.batches import as_batch


class Probe:
    """A fixed, stratified part of a split if the data module is kdlab's, else the first samples that the loader yields.

    The latter are taken from the batches in use, because asking a user's loader for more could change what it draws.

    Args:
        count: how many samples.
        baseline: the value of an absent feature, of one input's shape; None takes the data module's, else zeros.
    """

    def __init__(self, count: int, baseline: Tensor | None) -> None:
        self.count = count
        self._baseline = baseline
        self._kept: list[dict[str, Tensor]] = []

    def start(self) -> None:
        """Forget the collected samples."""
        self._kept = []

    def look(self, data: Data, batches: Iterable[object]) -> None:
        """Collect samples from the batches until there are enough, if the data do not number their samples."""
        if data.samples:
            return
        for batch in batches:
            if sum(len(kept["inputs"]) for kept in self._kept) >= self.count:
                return
            self._kept.append(as_batch(batch))

    def of(self, data: Data, split: str, device: torch.device) -> dict[str, Tensor]:
        """Return the samples of a split as a batch on a device."""
        if data.samples:
            batch = data.probe(self.count, split)
        else:
            batch = {name: torch.cat([kept[name] for kept in self._kept])[: self.count] for name in self._kept[0]}
        return {name: rows.to(device) for name, rows in batch.items()}

    def baseline(self, data: Data, inputs: Tensor) -> Tensor:
        """Return the value of an absent feature, of one input's shape."""
        baseline = data.description.baseline if self._baseline is None else self._baseline
        return torch.zeros_like(inputs[0]) if baseline is None else baseline.to(inputs)
