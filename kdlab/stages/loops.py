"""Lightning's two training loops, extended by calls at moments when nothing is half done, so that a resume is exact.

Lightning 2.6 has hooks only inside its loops. At ``on_train_epoch_start``, other callbacks may have drawn random
numbers already, and the batch counter still belongs to the epoch before: a resume from there skips the whole epoch. At
``on_train_batch_end``, the module's own hook, validation and schedulers have not run yet: a resume from there skips
them. These loops therefore make calls between the steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import lightning.pytorch as lightning
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop


@dataclass(frozen=True)
class Moments:
    """The functions that are called between the steps.

    Args:
        before_epoch: called before an epoch, or before the rest of one on resume: no hook was called yet, no iterator
            made and no random number drawn.
        between_batches: called when a batch with all its hooks and validation is done and another batch follows.
    """

    before_epoch: Callable[[lightning.Trainer], None]
    between_batches: Callable[[lightning.Trainer], None]


class EpochLoop(_TrainingEpochLoop):
    """The batches of one epoch."""

    def __init__(self, trainer: lightning.Trainer, moments: Moments, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps=min_steps, max_steps=max_steps)
        self._moments = moments

    def clear_progress(self) -> None:
        """Count from zero, because the epoch before is over."""
        self.batch_progress.reset_on_run()
        self.scheduler_progress.reset_on_run()
        self.automatic_optimization.optim_progress.reset_on_run()
        self.val_loop.batch_progress.reset()

    def reset(self) -> None:
        """Begin an epoch or continue it; there is no half-finished batch or validation to repeat."""
        super().reset()
        self.restarting = False

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Validate if it is time, and call ``between_batches`` if the epoch continues."""
        super().on_advance_end(data_fetcher)
        if not self.done:
            self._moments.between_batches(self.trainer)


class FitLoop(_FitLoop):
    """The epochs of a fit."""

    def __init__(self, trainer: lightning.Trainer, moments: Moments, old: _FitLoop) -> None:
        super().__init__(trainer, min_epochs=old.min_epochs, max_epochs=old.max_epochs)
        self._moments = moments
        self.epoch_loop: EpochLoop = EpochLoop(trainer, moments, old.min_steps, old.max_steps)

    @property
    def begun(self) -> bool:
        """Whether an epoch is under way."""
        return self.epoch_progress.current.ready > self.epoch_progress.current.completed

    def reset(self) -> None:
        """Prepare the fit; if it was resumed before an epoch, that epoch begins like any other, with a new iterator."""
        super().reset()
        if not self.begun:
            self._restarting = self._resuming_from_checkpoint = False
            self.epoch_loop.restarting = False

    def on_advance_start(self) -> None:
        """Call ``before_epoch`` before Lightning prepares the epoch."""
        if not self.begun:
            self.epoch_loop.clear_progress()
        self._moments.before_epoch(self.trainer)
        super().on_advance_start()


def call_between(trainer: lightning.Trainer, moments: Moments) -> None:
    """Replace a trainer's loops by these, with the same limits."""
    trainer.fit_loop = FitLoop(trainer, moments, trainer.fit_loop)
