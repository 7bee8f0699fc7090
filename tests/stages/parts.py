"""What somebody brings along that draws random numbers or counts, in Lightning's own ways."""

import time
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchmetrics import MeanMetric

from kdlab.modules.supervised import Supervised
from tests.data.made_up import MadeUp


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Adds noise to each sample when it is asked for, in whatever process that happens."""

    def __init__(self, inputs: Tensor, target: Tensor) -> None:
        self.inputs, self.target = inputs, target

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.inputs[row] + 0.5 * torch.randn_like(self.inputs[row]) + float(np.random.rand()), self.target[row]


class Somebodys(lightning.LightningDataModule):
    """Torch's own loaders over the made-up data.

    Args:
        workers: processes that load.
        persistent: whether they live on after an epoch.
        own_generator: whether the order comes from a generator of the loader's own.
    """

    def __init__(self, workers: int = 0, persistent: bool = False, own_generator: bool = False) -> None:
        super().__init__()
        made_up = MadeUp(classes=3, batch_size=16)
        made_up.setup()
        self.splits = made_up.splits
        self.kind: dict[str, Any] = {"num_workers": workers, "persistent_workers": persistent}
        self.generator = torch.Generator().manual_seed(3) if own_generator else None

    def train_dataloader(self) -> DataLoader[Any]:
        train = self.splits["train"]
        data = Noisy(train["inputs"], train["target"])
        return DataLoader(data, 16, shuffle=True, generator=self.generator, **self.kind)

    def val_dataloader(self) -> DataLoader[Any]:
        split = self.splits["val"]
        return DataLoader(TensorDataset(split["inputs"], split["target"]), 16, **self.kind)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.val_dataloader()


class Jitter(lightning.Callback):
    """Draws at the start of each epoch and of each batch, and moves the weights by it."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._move(pl_module)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: object, batch_idx: int
    ) -> None:
        self._move(pl_module)

    @torch.no_grad()
    def _move(self, module: lightning.LightningModule) -> None:
        for parameter in module.parameters():
            parameter += 0.01 * torch.randn_like(parameter) + 0.001 * float(np.random.rand())


class Uneven(lightning.Callback):
    """Draws more numbers on each further rank, so that their dropout differs."""

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: object, batch_idx: int
    ) -> None:
        torch.rand(trainer.global_rank + 1)


class Slow(lightning.Callback):
    """Makes each validation take a while.

    Args:
        seconds: how long.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        time.sleep(self.seconds)


class Decay(lightning.Callback):
    """Halves the weights of the last layer whenever an epoch starts: twice would be seen."""

    @torch.no_grad()
    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        parameters: list[nn.Parameter] = list(pl_module.parameters())
        parameters[-1].mul_(0.5)


class Plateau(Supervised):
    """Lowers the learning rate by what was validated, at each epoch or step, and freezes a part after the first epoch.

    Args:
        interval: ``epoch`` or ``step``.
    """

    def __init__(self, model: nn.Module, interval: str = "epoch", **arguments: Any) -> None:
        super().__init__(model, **arguments)
        self.interval = interval

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            next(iter(self.model.parameters())).requires_grad_(False)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, mode="max")
        scheduler = {"scheduler": plateau, "monitor": "val/accuracy", "interval": self.interval, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


class Plain(lightning.LightningModule):
    """Somebody's module: means by ``self.log``, a metric of an epoch, and hooks behind each batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.mean = MeanMetric()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs)
        return logits

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch["inputs"]), batch["target"])
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        self.mean.update(loss.detach())
        return loss

    @torch.no_grad()
    def on_train_batch_end(self, *_: Any) -> None:
        list(self.model.parameters())[-1].mul_(0.9)

    def on_train_epoch_end(self) -> None:
        self.log("train/mean", self.mean.compute())
        self.mean.reset()

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        self(batch["inputs"])

    def test_step(self, batch: dict[str, Tensor]) -> None:
        self(batch["inputs"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)
