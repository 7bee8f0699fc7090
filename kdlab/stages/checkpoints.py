"""Keeping a stage's best weights, and checkpoints from which its training continues bit for bit."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import lightning.pytorch as lightning
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from kdlab.records.stage_folder import StageFolder
from kdlab.records.weights import load_weights, save_weights
from kdlab.stages.journal import Journal
from kdlab.stages.resume_state import not_before_epochs, only_before_epochs, restart_workers, restore, state_of
from kdlab.stages.validated_weights import Scored

logger = logging.getLogger(__name__)


class Checkpoints(lightning.Callback):
    """Keeps the best weights by the monitored metric, the earliest on ties, and checkpoints to resume from.

    **What is promised.** A stage that was killed at any moment and continues from its latest checkpoint ends with the
    same weights, chosen epoch and journal as an undisturbed one, bit for bit. This holds on a CPU with the same number
    of threads and devices and the same versions. The checkpoint therefore also holds what Lightning's leaves out, see
    ``resume_state.py``: the global random states of each rank, the generators of torch's loaders, the logged values
    that schedulers and ``EarlyStopping`` read, whether training was told to stop, which parameters are frozen, and
    which modules are in eval mode.

    A training that is resumed before an epoch restores its state before anything of that epoch begins. The epoch's
    hooks, iterators and random draws come afterwards and happen as often as without a stop. Only ``on_train_start`` is
    called once more.

    **When.** Checkpoints are made before an epoch, and between two batches when the first one's hooks, validation and
    schedulers are done and accumulation holds no gradients back. In these cases they are made before epochs only, and
    one line says so when it matters:

    - Several devices train: their clocks differ, and all would have to agree after each batch.
    - The training data come from another loader than kdlab's: torch's ``DataLoader``, with workers or without, cannot
      say where in an epoch it is. For the same reason ``persistent_workers`` are started anew each epoch.
    - The module's class is not one that ``resume_state.py`` names, or a callback's class is not: what they gather
      during an epoch, such as the means of ``self.log``, may not be in any checkpoint.

    With ``StochasticWeightAveraging``, no checkpoint is made after averaging has begun: Lightning rebuilds its
    scheduler on resume, which changes the learning rate. If other loaders than kdlab's are made anew every few epochs,
    checkpoints are made only before the epochs in which they are.

    **What is not promised.** State that is kept in attributes but in no ``state_dict`` is lost, and so is the state of
    generators outside of torch's loaders and samplers. ``max_time`` and a ``val_check_interval`` in time depend on the
    clock even in an undisturbed training; the time already spent counts. A resume on another number of devices and GPU
    kernels that are not deterministic may give other results.

    Args:
        folder: the stage's folder, in which everything is written.
        journal: the logger of the same trainer.
        scored: knows which weights were validated.
        monitor: the metric that chooses the epoch.
        higher_is_better: whether the monitored metric is better when higher.
        seconds: the shortest time between two checkpoints.
        on_commit: called after each checkpoint, when the journal up to there is final.
        others: the trainer's callbacks that come from the experiment.
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
        others: Sequence[lightning.Callback] = (),
    ) -> None:
        self._folder, self._journal, self._scored = folder, journal, scored
        self.monitor, self._sign = monitor, 1.0 if higher_is_better else -1.0
        self._seconds, self._on_commit, self._others = seconds, on_commit, others
        self.best_score: float | None = None
        self.best_epoch = self._best_step = -1
        self.trained_seconds = 0.0
        self._last = monotonic()
        self._since = monotonic()
        self._kept: dict[str, Any] | None = None
        self._said = set[str]()

    @property
    def state_key(self) -> str:
        """The name of this callback's state in a checkpoint; it is an old name, so that old trainings can continue."""
        return "Life"

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Keep the weights if their score is better than all scores before.

        Raises:
            KeyError: If the monitored metric was not logged.
        """
        if trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            raise KeyError(
                f"monitor {self.monitor!r} was not logged; there are {sorted(trainer.callback_metrics)[:40]}"
            )
        score = float(trainer.callback_metrics[self.monitor])
        better = self.best_score is None or self._sign * score > self._sign * self.best_score
        if better and score == score:  # NaN differs from itself, and is never the best
            self.best_score, self.best_epoch, self._best_step = score, trainer.current_epoch, trainer.global_step
            if trainer.is_global_zero:
                save_weights(self._best_path(), self._scored.weights(pl_module))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count training time from this moment."""
        self._last = self._since = monotonic()

    def before_epoch(self, trainer: lightning.Trainer) -> None:
        """Restore the state if a checkpoint was loaded; otherwise make a checkpoint if it is time."""
        restart_workers(trainer)
        if self._kept is not None:
            restore(trainer, self._kept)
            self._kept = None
            return  # the checkpoint of this moment already exists
        due = trainer.current_epoch > 0 and self._due()
        # Clocks differ between ranks, and all must save together.
        if trainer.strategy.broadcast(due) and self._allowed(not_before_epochs(trainer)):
            self._save(trainer)

    def between_batches(self, trainer: lightning.Trainer) -> None:
        """Make a checkpoint if it is time and everything that trains can continue from here."""
        held_back = trainer.fit_loop.epoch_loop._should_accumulate()
        if held_back or not self._due():
            return
        if self._allowed(not_before_epochs(trainer) or only_before_epochs(trainer, self._others)):
            self._save(trainer)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Add up the training time."""
        self.count_time()

    def best_weights(self) -> dict[str, Tensor]:
        """Return the weights of the chosen epoch."""
        return load_weights(self._best_path())

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed stage needs of this callback."""
        return {
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "best_step": self._best_step,
            "trained_seconds": self.trained_seconds,
            "journal_bytes": self._journal.size(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore this callback, and remove from the journal what was logged after the checkpoint."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self._best_step, self.trained_seconds = state_dict["best_step"], state_dict["trained_seconds"]
        self._journal.truncate(state_dict["journal_bytes"])
        rank_zero_only(self._folder.commit)(state_dict["journal_bytes"])

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state that Lightning's checkpoint leaves out."""
        checkpoint["kdlab_moment"] = state_of(trainer)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep that state until everything else is set up; ``before_epoch`` restores it."""
        self._kept = checkpoint["kdlab_moment"]

    def _due(self) -> bool:
        return monotonic() - self._last >= self._seconds

    def _allowed(self, reason: str | None) -> bool:
        """Return whether there is no reason against a checkpoint; each reason is logged once."""
        if reason is not None and reason not in self._said:
            self._said.add(reason)
            logger.warning("a stop costs more than the last seconds of this stage: %s", reason)
        return reason is None

    def _save(self, trainer: lightning.Trainer) -> None:
        self.count_time()
        trainer.save_checkpoint(self._folder.resume, weights_only=False)
        if trainer.is_global_zero:
            # After the checkpoint is on the disk, since committed points are never taken back.
            self._folder.commit(self._journal.size())
            # Only now does no checkpoint refer to older weights any more.
            for old in self._folder.path.glob("best-*.safetensors"):
                if old != self._best_path():
                    old.unlink()
            self._on_commit()
        self._last = monotonic()

    def count_time(self) -> None:
        """Add the time since the last call to the training time."""
        now = monotonic()
        self.trained_seconds += now - self._since
        self._since = now

    def _best_path(self) -> Path:
        # The step is in the name, so that later weights never replace those that the last checkpoint refers to, even if
        # an epoch is validated several times.
        return self._folder.path / f"best-{self._best_step}.safetensors"
