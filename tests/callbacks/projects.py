"""Projects that a callback may stand in: one that knows nothing of kdlab, and its loader."""

from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn


class Foreign(lightning.LightningModule):
    """A user's module that knows nothing of kdlab; its batches are pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        return logits

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        return None

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        return None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(*callbacks: lightning.Callback, **arguments: Any) -> lightning.Trainer:
    settings = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
    }
    return lightning.Trainer(**{**settings, **arguments}, callbacks=list(callbacks))


def pairs() -> torch.utils.data.DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    inputs, target = torch.randn(40, 5, generator=generator), torch.randint(3, (40,), generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, target), batch_size=16)
