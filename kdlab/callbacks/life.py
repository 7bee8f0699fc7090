"""A stage's life on disk: what is logged, the best weights, and a checkpoint from which it goes on bit for bit."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from kdlab.randomness import global_state, restore_global_state
from kdlab.stage_folder import StageFolder
from kdlab.weights import load_weights, save_weights


class Journal(Logger):
    """Lightning's logger into ``metrics.jsonl``: one object a logged point, with the time at which it was logged."""

    def __init__(self, folder: StageFolder) -> None:
        super().__init__()
        self._path = folder.journal

    @property
    def name(self) -> str:
        """Lightning asks for a name; the folder is it."""
        return self._path.parent.name

    @property
    def version(self) -> str:
        """There is one."""
        return "0"

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Lightning's signature
        """Hyperparameters stand in ``stage.json``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line."""
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if not values:
            return
        line = {"time": time_ns() // 10**6, "step": step, "epoch": int(metrics.get("epoch", 0)), "metrics": values}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def of_epoch(self, epoch: int) -> tuple[int, dict[str, float]]:
        """The step of an epoch's validation, the last one where there were several, and all that was logged for it."""
        step, found = 0, dict[str, float]()
        for line in self._path.read_text(encoding="utf-8").splitlines():
            point = json.loads(line)
            if point["epoch"] == epoch and any(name.startswith("val/") for name in point["metrics"]):
                step, found = point["step"], found | point["metrics"]
        return step, found

    def size(self) -> int:
        """Bytes on disk, all of them safely there."""
        if not self._path.exists():
            return 0
        with self._path.open("rb+") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    @rank_zero_only
    def truncate(self, size: int) -> None:
        """Take back what was logged after a checkpoint: it will be logged again."""
        if self._path.exists():
            os.truncate(self._path, size)


class Scored(lightning.Callback):
    """Holds the weights that were scored, where Lightning puts averaged ones in for the validation only.

    It stands before the averaging callback, which takes them out again, while ``Life`` stands behind all others.
    """

    def __init__(self) -> None:
        self._weights: dict[str, Tensor] | None = None

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Copy them if they are about to be changed."""
        averaging = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        self._weights = {n: v.detach().clone() for n, v in exported(pl_module).items()} if averaging else None

    def weights(self, module: lightning.LightningModule) -> dict[str, Tensor]:
        """The weights of the last validation."""
        return exported(module) if self._weights is None else self._weights


class Life(lightning.Callback):
    """Keeps the best weights by the monitored metric, earliest on ties, and checkpoints to resume from.

    A checkpoint is made before an epoch's first batch, when everything of the epoch before is logged and its schedulers
    have stepped, and between two batches; never after an epoch's last batch, where Lightning would skip its validation.
    Each holds the global random states, so that what a resumed run draws is what an undisturbed one draws.

    Args:
        folder: where everything goes.
        journal: the logger of the same trainer.
        scored: says which weights were validated.
        monitor: the metric that chooses the epoch.
        higher_is_better: its direction.
        seconds: least time between two checkpoints.
        on_commit: called after each, when what is in the journal will never be taken back.
    """

    def __init__(
        self,
        folder: StageFolder,
        journal: Journal,
        scored: Scored,
        monitor: str,
        higher_is_better: bool,
        seconds: float,
        on_commit: Callable[[], None],
    ) -> None:
        self._folder, self._journal, self._scored = folder, journal, scored
        self.monitor, self._sign = monitor, 1.0 if higher_is_better else -1.0
        self._seconds, self._on_commit = seconds, on_commit
        self.best_score: float | None = None
        self.best_epoch = -1
        self.trained_seconds = 0.0
        self._last = monotonic()
        self._since = monotonic()
        self._random: dict[str, Any] | None = None
        self._resumed = False

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the weights if the score is better than all before."""
        if trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            raise KeyError(
                f"monitor {self.monitor!r} was not logged; there are {sorted(trainer.callback_metrics)[:40]}"
            )
        score = float(trainer.callback_metrics[self.monitor])
        better = self.best_score is None or self._sign * score > self._sign * self.best_score
        if better and score == score:
            self.best_score, self.best_epoch = score, trainer.current_epoch
            if trainer.is_global_zero:
                save_weights(self._best_path(), self._scored.weights(pl_module))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Training time counts from here."""
        self._last = self._since = monotonic()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Between two epochs."""
        if self._resumed:
            return  # this very moment has its checkpoint
        due = trainer.current_epoch > 0 and monotonic() - self._last >= self._seconds
        # Clocks differ between ranks, and all must save together.
        if trainer.strategy.broadcast(due):
            self._save(trainer)

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Draw from here on what the interrupted run would have drawn."""
        if self._random is not None:
            restore_global_state(self._random)
        self._random, self._resumed = None, False

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Between two batches, where no gradients are held back by accumulation and no validation is due."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        every = trainer.val_check_batch
        validates = trainer.is_last_batch or (isinstance(every, int) and (batch_idx + 1) % every == 0)
        alone = trainer.world_size == 1  # several ranks would have to agree at each step
        if alone and stepped and not validates and monotonic() - self._last >= self._seconds:
            self._save(trainer)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add up the training time."""
        self.count_time()

    def best_weights(self) -> dict[str, Tensor]:
        """The weights of the chosen epoch."""
        return load_weights(self._best_path())

    def state_dict(self) -> dict[str, Any]:
        """What a resumed stage must know."""
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "trained_seconds": self.trained_seconds,
            "journal_bytes": self._journal.size(),
            "random": global_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on: what was logged after the checkpoint is taken back."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self.trained_seconds = state_dict["trained_seconds"]
        self._random, self._resumed = state_dict["random"], True
        self._journal.truncate(state_dict["journal_bytes"])
        rank_zero_only(self._folder.commit)(state_dict["journal_bytes"])

    def _save(self, trainer: lightning.Trainer) -> None:
        self.count_time()
        trainer.save_checkpoint(self._folder.resume, weights_only=False)
        if trainer.is_global_zero:
            self._folder.commit(self._journal.size())
            for old in self._folder.path.glob("best-*.safetensors"):
                if old != self._best_path():
                    old.unlink()
            self._on_commit()
        self._last = monotonic()

    def count_time(self) -> None:
        """Add what has passed since the last count to the training time."""
        now = monotonic()
        self.trained_seconds += now - self._since
        self._since = now

    def _best_path(self) -> Path:
        # The epoch is in the name, so that a checkpoint never stands beside better weights than it knows of.
        return self._folder.path / f"best-{self.best_epoch}.safetensors"


def exported(module: lightning.LightningModule) -> dict[str, Tensor]:
    """The weights that outlive training: the model's and the explainer's, without the losses' own parts."""
    return {name: value for name, value in module.state_dict().items() if name.startswith(("model.", "explainer."))}
