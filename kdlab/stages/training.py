"""Training one stage with one seed: start or resume it, fit it, and keep the chosen epoch's weights."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]  # not in __all__

from kdlab.callbacks.evaluate import Evaluate
from kdlab.errors import DivergedError, Interrupted, StageError
from kdlab.randomness import address, forked
from kdlab.records.stage_folder import StageFolder
from kdlab.records.stage_records import Done
from kdlab.records.weights import WholeCheckpoints, save_weights
from kdlab.stages.checkpoints import Checkpoints
from kdlab.stages.costs import PeakMemory
from kdlab.stages.journal import Journal
from kdlab.stages.loops import Moments, call_between
from kdlab.stages.seeded_stage import SeededStage, direction, put
from kdlab.stages.validated_weights import Scored, exported

#: The shortest time between two checkpoints of a stage, in seconds: a kill costs about as much training.
CHECKPOINT_SECONDS = 2.0


def train(seeded: SeededStage, on_commit: Callable[[], None], callbacks: list[lightning.Callback]) -> None:
    """Train a stage to its end, from its checkpoint if there is one; the caller holds the folder's lock.

    Raises:
        StageError: If the settings are refused, or the stage changed its teacher.
        DivergedError: If the monitored metric was never a number.
        Interrupted: At Ctrl-C or SIGTERM.
    """
    stage, folder = seeded.experiment.stages[seeded.stage], seeded.folder
    with forked(address(seeded.seed, "training")):
        module = seeded.build()
        evaluate, journal = seeded.evaluate(module), Journal(folder)
        higher = direction(stage.monitor, evaluate)
        scored = Scored()
        own = seeded.experiment.callbacks(seeded.stage)
        checkpoints = Checkpoints(folder, journal, scored, stage.monitor, higher, CHECKPOINT_SECONDS, on_commit, own)
        arguments = seeded.experiment.trainer_arguments(seeded.stage)
        if arguments.get("max_epochs") == 0:
            save_weights(folder.weights, exported(module), seeded.class_names)
            folder.finish(Done(-1, None, None, 0, 0, 0.0, 0.0, versions()))
            return
        trainer = make_trainer(seeded, [evaluate, scored, *own, checkpoints, *callbacks], logger=journal, **arguments)
        call_between(trainer, Moments(checkpoints.before_epoch, checkpoints.between_batches))
        before = seeded.teacher.state_hash() if seeded.teacher is not None else None
        data = seeded.arranged_data(module).lightning
        with PeakMemory(trainer.strategy.root_device) as memory:
            fit(trainer, module, data, folder)
        if seeded.teacher is not None and seeded.teacher.state_hash() != before:
            raise StageError(
                f"stage {seeded.stage!r} changed its teacher while it trained: a loss or callback writes to it"
            )
        if checkpoints.best_score is None:
            raise DivergedError(
                f"{checkpoints.monitor} was never a number; the training diverged, lower the learning rate"
            )
        explain_chosen(module, data, trainer, checkpoints, journal, evaluate)
        if trainer.is_global_zero:
            finish(folder, checkpoints, trainer, journal, evaluate, memory, seeded.class_names)


def fit(trainer: lightning.Trainer, module: lightning.LightningModule, data: Any, folder: StageFolder) -> None:  # noqa: ANN401
    """Run Lightning's loop, from the checkpoint if there is one, and raise Interrupted if Lightning was stopped."""
    checkpoint = folder.resume if folder.resume.exists() else None
    if checkpoint is None:
        # A journal without a checkpoint is left from a training that cannot be continued.
        folder.journal.unlink(missing_ok=True)
    else:
        check_readable(checkpoint)
    try:
        with quiet():
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:  # Lightning exits the process at Ctrl-C
        raise Interrupted from stop
    if trainer.interrupted or trainer.received_sigterm:
        raise Interrupted


def explain_chosen(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    trainer: lightning.Trainer,
    checkpoints: Checkpoints,
    journal: Journal,
    evaluate: Evaluate,
) -> None:
    """Explain the chosen weights on validation data unless their epoch was explained; log the values for that epoch.

    Anything that reads the validation of the chosen epoch, such as a sweep, then finds every metric there, whatever
    ``evaluate.every`` is. All ranks call this, because metrics are reduced over them. If a kill comes before ``finish``
    is done, the line is removed from the journal together with all that was logged since the last checkpoint.
    """
    trainer.strategy.barrier()  # all ranks read now what rank 0 wrote
    step, logged = journal.of_epoch(checkpoints.best_epoch)
    if not evaluate.lacks(logged):
        return
    # The kept weights lack parts of losses, which are not kept after training.
    put(module, {**module.state_dict(), **checkpoints.best_weights()}, "the chosen weights")
    with quiet():
        values = evaluate.explained(module.to(trainer.strategy.root_device), data)
    journal.log_metrics({n: v for n, v in values.items() if n not in logged} | {"epoch": checkpoints.best_epoch}, step)
    checkpoints.count_time()


def finish(
    folder: StageFolder,
    checkpoints: Checkpoints,
    trainer: lightning.Trainer,
    journal: Journal,
    evaluate: Evaluate,
    memory: PeakMemory,
    class_names: list[str] | None,
) -> None:
    """Write weights, journal and ``done.json``, in an order in which a kill always leaves a resumable folder."""
    save_weights(folder.weights, checkpoints.best_weights(), class_names)
    folder.commit(journal.size())
    done = Done(
        epoch=checkpoints.best_epoch,
        monitor=checkpoints.monitor,
        best=checkpoints.best_score,
        steps=trainer.global_step,
        epochs=trainer.current_epoch,
        seconds=checkpoints.trained_seconds,
        evaluation_seconds=evaluate.seconds,
        versions=versions(),
        # Measured since the stage was begun or last resumed, which is enough because epochs are alike.
        memory_bytes=memory.bytes,
    )
    folder.finish(done)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that train."""
    return {"torch": str(torch.__version__), "lightning": version("lightning")}


def make_trainer(seeded: SeededStage, callbacks: list[lightning.Callback], **arguments: Any) -> lightning.Trainer:  # noqa: ANN401
    """Return Lightning's Trainer without its own files, bars and samplers; a StageError says what it refuses."""
    settings: dict[str, Any] = {
        "accelerator": seeded.options.accelerator,
        "devices": seeded.options.devices,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        # kdlab's loader itself divides the samples over the devices.
        "use_distributed_sampler": False,
        "default_root_dir": seeded.folder.path,
    }
    if seeded.options.devices > 1:
        settings["strategy"] = "ddp"
    try:
        with quiet():
            trainer = lightning.Trainer(**{**settings, **arguments}, callbacks=callbacks)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise StageError(f"stage {seeded.stage!r}: Lightning's Trainer refuses its settings: {error}") from error
    trainer.strategy.checkpoint_io = WholeCheckpoints()
    return trainer


def check_readable(checkpoint: Path) -> None:
    """Raise a StageError of one line if a checkpoint is damaged, before Lightning reads it."""
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise StageError(
            f"the checkpoint {checkpoint} is damaged; train this stage afresh with FRESH=<stage>, or delete the file"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress Lightning's advertisements, and its remarks on what is done here on purpose."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield from _without_remarks()
    finally:
        logger.setLevel(level)


def _without_remarks() -> Iterator[None]:
    with warnings.catch_warnings():
        for message in (
            "The '.*_dataloader' does not have many workers",
            "Found .* module.s. in eval mode",
            "The number of training batches .* is smaller than the logging interval",
            ".isinstance.treespec, LeafSpec.. is deprecated",
            "Trying to infer the `batch_size`",
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
