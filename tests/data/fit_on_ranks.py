"""Fits a linear layer on several gloo processes and writes down which samples each rank saw.

python tests/data/fit_on_ranks.py FOLDER DEVICES [STEP | CHECKPOINT]: STEP saves FOLDER/cut.ckpt there and stops.
"""

import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from tests.data.made_up import MadeUp


class Witness(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))
        self.trained: list[list[int]] = []
        self.validated: list[list[int]] = []

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        self.trained.append(batch["index"].tolist())
        return nn.functional.cross_entropy(self.layer(batch["inputs"]), batch["target"])

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        self.layer(batch["inputs"])
        self.validated.append(batch["index"].tolist())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Cut(L.Callback):
    def __init__(self, step: int, file: Path) -> None:
        self.step = step
        self.file = file

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)
            trainer.should_stop = True


def main(folder: Path, devices: int, how: str | None) -> None:
    torch.manual_seed(0)
    module = Witness()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=2,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Cut(int(how), folder / "cut.ckpt")] if how and how.isdigit() else [],
    )
    checkpoint = how if how and not how.isdigit() else None
    # 37 samples for validation: 3 batches of 16 for one process, 19 and 18 samples for two.
    data = MadeUp(samples=(80, 37, 40)).arranged(seed=2)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    seen = {"trained": module.trained, "validated": module.validated}
    (folder / f"seen-{devices}-{trainer.global_rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
