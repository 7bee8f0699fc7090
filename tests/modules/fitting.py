"""A student, a teacher and a short training, for tests of the modules."""

from pathlib import Path

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.teacher import Teacher
from tests.data.made_up import MadeUp


def student() -> MLP:
    torch.manual_seed(1)
    return MLP(inputs=64, classes=3, hidden=[8])


def teacher() -> Teacher:
    torch.manual_seed(2)
    return Teacher(ConvNet(classes=3, width=4))


def data(labelled: int | None = 12) -> MadeUp:
    return MadeUp(classes=3, batch_size=16).arranged(0, labelled)


def batch() -> dict[str, Tensor]:
    return next(iter(data().train_dataloader()))


def fit(
    module: lightning.LightningModule,
    epochs: int = 2,
    labelled: int | None = 12,
    save: Path | None = None,
    resume: Path | None = None,
    **arguments: object,
) -> lightning.Trainer:
    """Train on made-up data, five batches an epoch."""
    settings: dict[str, object] = {
        "max_epochs": epochs,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    trainer = lightning.Trainer(**{**settings, **arguments})  # type: ignore[arg-type]
    trainer.fit(module, datamodule=data(labelled), ckpt_path=resume, weights_only=True)
    if save is not None:
        trainer.save_checkpoint(save)
    return trainer


def weights(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def equal(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))
