"""Lightning's two training loops with the moments at which nothing is half done, and a restart from exactly there.

Lightning 2.6 has hooks inside its loops only. At ``on_train_epoch_start`` other callbacks may have drawn already and
the batch counter stands at the epoch before: a resume then skips the whole epoch. At ``on_train_batch_end`` the
module's own hook, validation and schedulers are still to come: a resume skips them. So these loops call out from
between the steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import lightning.pytorch as lightning
from lightning.pytorch.loops.fetchers import _DataFetcher
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop


@dataclass(frozen=True)
class Moments:
    """Who is called between the steps.

    Args:
        before_epoch: before anything of an epoch, or of what is left of it on resume: no hook was called, no iterator
            made, nothing drawn.
        between_batches: when a batch is done and another one follows, all hooks and validation behind it included.
    """

    before_epoch: Callable[[lightning.Trainer], None]
    between_batches: Callable[[lightning.Trainer], None]


class EpochLoop(_TrainingEpochLoop):
    """The batches of one epoch."""

    def __init__(self, trainer: lightning.Trainer, moments: Moments, min_steps: int | None, max_steps: int) -> None:
        super().__init__(trainer, min_steps=min_steps, max_steps=max_steps)
        self._moments = moments

    def clear_progress(self) -> None:
        """Count from zero: the epoch before is over."""
        self.batch_progress.reset_on_run()
        self.scheduler_progress.reset_on_run()
        self.automatic_optimization.optim_progress.reset_on_run()
        self.val_loop.batch_progress.reset()

    def reset(self) -> None:
        """Begin an epoch or go on with it; there is no batch or validation to be mended."""
        super().reset()
        self.restarting = False

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Validate where it is time, and call out where the epoch goes on."""
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
        """A fit that was resumed before an epoch begins it like any other, with an iterator made at its time."""
        super().reset()
        if not self.begun:
            self._restarting = self._resuming_from_checkpoint = False
            self.epoch_loop.restarting = False

    def on_advance_start(self) -> None:
        """Call out before Lightning prepares the epoch."""
        if not self.begun:
            self.epoch_loop.clear_progress()
        self._moments.before_epoch(self.trainer)
        super().on_advance_start()


def call_between(trainer: lightning.Trainer, moments: Moments) -> None:
    """Give a trainer these loops in the place of Lightning's own, with the same limits."""
    trainer.fit_loop = FitLoop(trainer, moments, trainer.fit_loop)
