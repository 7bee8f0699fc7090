"""The best weights of a stage, and checkpoints from which its training goes on bit for bit."""

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
    """Keeps the best weights by the monitored metric, earliest on ties, and checkpoints to resume from.

    **What is promised.** On a CPU, with the same number of threads and devices and the same versions, a stage that was
    killed at any moment and goes on from its latest checkpoint ends with the weights, the chosen epoch and the journal
    of one that was not, bit for bit. The checkpoint therefore also holds what Lightning's leaves out, see
    ``resume_state.py``: the global random states of each rank, the generators of torch's loaders, logged values that
    schedulers and ``EarlyStopping`` read, whether training was told to stop, and which parameters are frozen and
    modules in eval mode.
    Resumed at an epoch's start, nothing of that epoch has begun: its hooks, its iterators and all that they draw come
    after the state is restored, so that they are called as often as without a stop. ``on_train_start`` is called again.

    **When.** Before an epoch, and between two batches when the first one's hooks, validation and schedulers are done
    and no gradients are held back by accumulation. Only before epochs, and said once in a line when it matters, where:

    - several devices train, since clocks differ and all would have to agree after each batch;
    - the training data are another loader than kdlab's: torch's ``DataLoader``, with workers or without, cannot say
      where in an epoch it is (``persistent_workers`` are started anew each epoch for the same reason);
    - the module is of another class than kdlab's three, or a callback of another class than those that
      ``resume_state.py`` names: what they gather in an epoch, such as the means of ``self.log``, may stand in
      no checkpoint.

    With ``StochasticWeightAveraging`` no checkpoint is made once it has begun to average: Lightning rebuilds its
    scheduler on resume, which changes the learning rate. With loaders of another kind that are made anew every few
    epochs, only epochs in which they are.

    **What is not.** Whatever is kept in attributes of one's own and in no ``state_dict``; generators of one's own
    outside of torch's loaders and samplers; ``max_time`` and a ``val_check_interval`` in time, which a clock decides in
    an undisturbed run too (the time already spent counts on); a resume on another number of devices; GPU kernels that
    are not deterministic.

    Args:
        folder: where everything goes.
        journal: the logger of the same trainer.
        scored: says which weights were validated.
        monitor: the metric that chooses the epoch.
        higher_is_better: its direction.
        seconds: least time between two checkpoints.
        on_commit: called after each, when what is in the journal will never be taken back.
        others: the trainer's callbacks that are not of the runner.
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
        """The name of its state in a checkpoint; it is that of earlier versions, whose trainings can go on."""
        return "Life"

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
            self.best_score, self.best_epoch, self._best_step = score, trainer.current_epoch, trainer.global_step
            if trainer.is_global_zero:
                save_weights(self._best_path(), self._scored.weights(pl_module))

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Training time counts from here."""
        self._last = self._since = monotonic()

    def before_epoch(self, trainer: lightning.Trainer) -> None:
        """Go on from the checkpoint where there was one; else make one if it is time."""
        restart_workers(trainer)
        if self._kept is not None:
            restore(trainer, self._kept)
            self._kept = None
            return  # this very moment has its checkpoint
        due = trainer.current_epoch > 0 and self._due()
        # Clocks differ between ranks, and all must save together.
        if trainer.strategy.broadcast(due) and self._allowed(not_before_epochs(trainer)):
            self._save(trainer)

    def between_batches(self, trainer: lightning.Trainer) -> None:
        """Make a checkpoint if it is time and all that trains can go on from here."""
        held_back = trainer.fit_loop.epoch_loop._should_accumulate()
        if held_back or not self._due():
            return
        if self._allowed(not_before_epochs(trainer) or only_before_epochs(trainer, self._others)):
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
            "best_step": self._best_step,
            "trained_seconds": self.trained_seconds,
            "journal_bytes": self._journal.size(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on: what was logged after the checkpoint is taken back."""
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]
        self._best_step, self.trained_seconds = state_dict["best_step"], state_dict["trained_seconds"]
        self._journal.truncate(state_dict["journal_bytes"])
        rank_zero_only(self._folder.commit)(state_dict["journal_bytes"])

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what Lightning leaves out."""
        checkpoint["kdlab_moment"] = state_of(trainer)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keep that until everybody else has set themselves up."""
        self._kept = checkpoint["kdlab_moment"]

    def _due(self) -> bool:
        return monotonic() - self._last >= self._seconds

    def _allowed(self, reason: str | None) -> bool:
        """Whether there is no reason against a checkpoint; a new one is said."""
        if reason is not None and reason not in self._said:
            self._said.add(reason)
            logger.warning("a stop costs more than the last seconds of this stage: %s", reason)
        return reason is None

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
        # The step is in the name, so that a checkpoint never stands beside better weights than it knows of, also where
        # an epoch is validated several times.
        return self._folder.path / f"best-{self._best_step}.safetensors"
