"""A fit that was cut off goes on with the batches it would have seen, to the same weights bit for bit."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import Tensor, nn

from kdlab.data.augment import Noise
from kdlab.data.base import DataModule

EPOCHS = 3
BATCHES = 5  # 40 samples in batches of 8


class Blobs(DataModule):
    def load(self) -> dict[str, dict[str, Tensor]]:
        draw = torch.Generator().manual_seed(0)
        sizes = {"train": 43, "val": 10, "test": 10}
        return {
            split: {"inputs": torch.randn(size, 3, generator=draw), "target": torch.arange(size) % 2}
            for split, size in sizes.items()
        }


class Recorder(L.LightningModule):
    """Trains a linear layer and writes down what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.seen: list[tuple[int, list[int], Tensor]] = []
        self.validated: list[int] = []
        self.ended: list[int] = []

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        self.seen.append((self.current_epoch, batch["index"].tolist(), batch["inputs"].clone()))
        return nn.functional.cross_entropy(self.layer(batch["inputs"]), batch["target"])

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        self.validated += [self.current_epoch] * len(batch["target"])

    def on_train_epoch_end(self) -> None:
        self.ended.append(self.current_epoch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class SaveAfterStep(L.Callback):
    """Saves at one step, and then ends as a killed process does."""

    def __init__(self, step: int, file: Path) -> None:
        self.step = step
        self.file = file

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:  # the outputs may be anything
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)
            raise KilledError


class SaveAfterEpoch(L.Callback):
    def __init__(self, epoch: int, file: Path) -> None:
        self.epoch = epoch
        self.file = file

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epoch and not trainer.sanity_checking:
            trainer.save_checkpoint(self.file)
            raise KilledError


class KilledError(Exception):
    pass


def fit(
    folder: Path, callback: L.Callback | None = None, checkpoint: Path | None = None, by_steps: bool = False
) -> Recorder:
    torch.manual_seed(1)
    module = Recorder()
    data = Blobs(batch_size=8, augment=Noise(0.1)).arranged(seed=4)
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback] if callback else [],
        max_epochs=-1 if by_steps else EPOCHS,
        max_steps=EPOCHS * BATCHES if by_steps else -1,
    )
    with suppress(KilledError):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return module


def assert_equal(resumed: Recorder, whole: Recorder, steps_before: int) -> None:
    rest = whole.seen[steps_before:]
    assert [entry[:2] for entry in resumed.seen] == [entry[:2] for entry in rest]
    assert all(torch.equal(mine[2], theirs[2]) for mine, theirs in zip(resumed.seen, rest, strict=True))
    weights: Mapping[str, Tensor] = whole.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in resumed.state_dict().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recorder:
    return fit(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("by_steps", [False, True])
@pytest.mark.parametrize("step", [1, 3, 7, 14])
def test_resumes_in_the_middle_of_an_epoch(step: int, by_steps: bool, whole: Recorder, tmp_path: Path) -> None:
    killed = fit(tmp_path, SaveAfterStep(step, tmp_path / "cut.ckpt"), by_steps=by_steps)
    assert len(killed.seen) == step
    resumed = fit(tmp_path, checkpoint=tmp_path / "cut.ckpt", by_steps=by_steps)
    assert_equal(resumed, whole, steps_before=step)
    assert set(resumed.validated) == {epoch for epoch in range(EPOCHS) if epoch >= step // BATCHES}


@pytest.mark.parametrize("by_steps", [False, True])
@pytest.mark.parametrize("epoch", [0, 1])
def test_resumes_after_an_epoch(epoch: int, by_steps: bool, whole: Recorder, tmp_path: Path) -> None:
    fit(tmp_path, SaveAfterEpoch(epoch, tmp_path / "cut.ckpt"), by_steps=by_steps)
    resumed = fit(tmp_path, checkpoint=tmp_path / "cut.ckpt", by_steps=by_steps)
    assert_equal(resumed, whole, steps_before=BATCHES * (epoch + 1))


def test_a_step_checkpoint_on_the_last_batch_loses_the_validation_but_no_batch(whole: Recorder, tmp_path: Path) -> None:
    fit(tmp_path, SaveAfterStep(BATCHES, tmp_path / "cut.ckpt"))
    resumed = fit(tmp_path, checkpoint=tmp_path / "cut.ckpt")
    assert_equal(resumed, whole, steps_before=BATCHES)
    # Lightning's, see ShuffledLoader: do not save there.
    assert 0 not in resumed.validated
    assert 0 not in resumed.ended
