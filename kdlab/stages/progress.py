"""Showing how far an experiment is: bars with the remaining time on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import lightning.pytorch as lightning
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

if TYPE_CHECKING:
    from kdlab.configuration.experiment import Experiment
    from kdlab.stages.graph import StageNode


class Show(lightning.Callback):
    """Shows the progress of one stage, as a callback of its training."""

    def __init__(self, progress: "Progress", title: str, epochs: int, reused: bool) -> None:
        self._progress, self._title, self._epochs, self._reused = progress, title, epochs, reused
        self._started = monotonic()
        self._last = ""

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show that an epoch is over."""
        score = trainer.callback_metrics.get("val/accuracy")
        self._last = f"val/accuracy {float(score):.3f}" if score is not None else ""
        self._progress.epoch(self._title, trainer.current_epoch + 1, self._epochs, self._last)

    def finished(self) -> None:
        """Show that the stage is trained and tested."""
        self._progress.stage(self._title, monotonic() - self._started, self._last, self._reused)


class Progress:
    """Progress over the stages and epochs of an execution."""

    def __init__(self, nodes: "Sequence[StageNode]", experiment: "Experiment") -> None:
        self._experiment = experiment
        self._console = Console(stderr=False)
        self._bars: Bars | None = None
        self._stages: Any = None
        self._epochs: Any = None
        self._count, self._done = len(nodes), 0

    def __enter__(self) -> Self:
        if sys.stdout.isatty():
            self._bars = Bars(
                TextColumn("{task.description:28.28}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._bars.start()
            self._stages = self._bars.add_task("stages x seeds", total=self._count, note="")
            self._epochs = self._bars.add_task("epochs", total=1, note="")
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def of(self, node: "StageNode", reused: bool) -> Show:
        """Return the callback that shows one stage."""
        epochs = int(self._experiment.trainer_arguments(node.stage).get("max_epochs") or 0)
        return Show(self, f"{node.stage} seed {node.seed}", epochs, reused)

    def epoch(self, title: str, done: int, total: int, note: str) -> None:
        """Show one more epoch of a stage."""
        if self._bars is not None:
            self._bars.update(self._epochs, description=title, completed=done, total=total, note=note)

    def stage(self, title: str, seconds: float, note: str, reused: bool) -> None:
        """Show one more finished stage."""
        self._done += 1
        if self._bars is not None:
            self._bars.update(self._stages, completed=self._done)
        elif reused:
            print(f"[{self._done}/{self._count}] {title}: reused", flush=True)
        else:
            print(f"[{self._done}/{self._count}] {title}: {seconds:.1f} s  {note}", flush=True)
