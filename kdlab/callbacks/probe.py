"""The samples that are explained, and what stands for a feature that is absent in them."""

from collections.abc import Iterable

import torch
from torch import Tensor

from kdlab.data.adopted import Data
from kdlab.data.batches import as_batch


class Probe:
    """A fixed, stratified part of a split of a kdlab data module; of other data the first samples that come along.

    Those come from the loader in use: asking a loader of anybody's for more could move what it draws.

    Args:
        count: how many samples.
        baseline: what stands for an absent feature, of one input's shape; None takes the data module's, else zeros.
    """

    def __init__(self, count: int, baseline: Tensor | None) -> None:
        self.count = count
        self._baseline = baseline
        self._kept: list[dict[str, Tensor]] = []

    def start(self) -> None:
        """Let go of the samples that came along."""
        self._kept = []

    def look(self, data: Data, batches: Iterable[object]) -> None:
        """Keep what comes along until there is enough, of data whose samples have no number."""
        if data.samples:
            return
        for batch in batches:
            if sum(len(kept["inputs"]) for kept in self._kept) >= self.count:
                return
            self._kept.append(as_batch(batch))

    def of(self, data: Data, split: str, device: torch.device) -> dict[str, Tensor]:
        """The samples of a split, as a batch."""
        if data.samples:
            batch = data.probe(self.count, split)
        else:
            batch = {name: torch.cat([kept[name] for kept in self._kept])[: self.count] for name in self._kept[0]}
        return {name: rows.to(device) for name, rows in batch.items()}

    def baseline(self, data: Data, inputs: Tensor) -> Tensor:
        """What stands for an absent feature, of one input's shape."""
        baseline = data.description.baseline if self._baseline is None else self._baseline
        return torch.zeros_like(inputs[0]) if baseline is None else baseline.to(inputs)
