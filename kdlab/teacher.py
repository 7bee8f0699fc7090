"""The teacher: a frozen source of soft labels.

It is no ``nn.Module``, so that no optimiser, checkpoint, parameter count or DDP bucket ever holds it.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from kdlab.capture import capture
from kdlab.explainers.base import Attribution
from kdlab.soft_labels import SoftLabels


class Teacher:
    """A network in eval mode whose parameters take no gradient, and its soft labels where they are cached.

    Args:
        network: any network from inputs to logits; it is frozen in place.
        soft_labels: its logits on fixed views of the data, used for batches that carry ``index`` and ``view``.
    """

    def __init__(self, network: nn.Module, soft_labels: SoftLabels | None = None) -> None:
        self.network = network.eval().requires_grad_(False)
        self.soft_labels = soft_labels

    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes), computed now; gradients reach the inputs if they ask for them."""
        logits: Tensor = self.network(inputs)
        return logits

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (batch, classes) of a batch: cached ones where the batch permits it by ``view``, else live ones."""
        if self.soft_labels is not None and "view" in batch and "index" in batch:
            return self.soft_labels.rows(batch["index"], batch["view"])
        with torch.no_grad():
            return self(batch["inputs"])

    def logits_and_features(self, inputs: Tensor, layers: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
        """Live logits, and what the named layers gave on the way."""
        with torch.no_grad(), capture(self.network, layers) as captured:
            logits = self(inputs)
            return logits, captured.ordered(layers)

    def attributions(self, inputs: Tensor, target: Tensor, explainer: Callable[[nn.Module], Attribution]) -> Tensor:
        """The teacher's attributions of the classes ``target``, detached."""
        with torch.no_grad():
            return explainer(self.network).attribute(inputs, target)

    def to(self, device: torch.device | str) -> Self:
        """Move the network and the soft labels."""
        self.network.to(device)
        if self.soft_labels is not None:
            self.soft_labels.to(device)
        return self

    def state_hash(self) -> str:
        """A hash of every parameter and buffer, and of each module's mode: equal before and after any training."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes())
        digest.update(str([module.training for module in self.network.modules()]).encode())
        return digest.hexdigest()


class Mean(nn.Module):
    """The mean of several networks' logits."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        return torch.stack([network(inputs) for network in self.networks]).mean(dim=0)


class Ensemble(Teacher):
    """Several teachers as one: the mean of their logits, cached ones where all have them."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        super().__init__(Mean([teacher.network for teacher in teachers]))
        self._teachers = list(teachers)

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean of the teachers' logits."""
        return torch.stack([teacher.logits(batch) for teacher in self._teachers]).mean(dim=0)

    def to(self, device: torch.device | str) -> Self:
        """Move all of them."""
        for teacher in self._teachers:
            teacher.to(device)
        return self
