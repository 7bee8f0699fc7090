"""A data module and a LightningModule that know nothing of kdlab, beside each other in a stage."""

from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.data.made_up import MadeUp


class Pairs(lightning.LightningDataModule):
    """Shuffled pairs in torch's own loaders."""

    def __init__(self) -> None:
        super().__init__()
        self.made_up = MadeUp(classes=3)
        self.made_up.setup()

    def loader(self, split: str, shuffle: bool = False) -> DataLoader[tuple[Tensor, ...]]:
        tensors = self.made_up.splits[split]
        return DataLoader(TensorDataset(tensors["inputs"], tensors["target"]), 16, shuffle=shuffle)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader("val")

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return self.loader("test")


class Theirs(lightning.LightningModule):
    """Cross-entropy of whatever has a label, from pairs as from kdlab's batches.

    Args:
        model: The network.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return logits

    def training_step(self, batch: Any) -> Tensor:
        inputs, target = (batch["inputs"], batch["target"]) if isinstance(batch, dict) else batch
        return nn.functional.cross_entropy(self(inputs), target, ignore_index=-1)

    def validation_step(self, batch: Any) -> None: ...

    def test_step(self, batch: Any) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)
