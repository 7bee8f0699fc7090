"""The state that a training needs to continue exactly, beyond what a Lightning checkpoint holds."""

from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch as lightning
import torch
import torch.distributed
from lightning.pytorch.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    StochasticWeightAveraging,
    WeightAveraging,
)
from torch.utils.data import DataLoader

from kdlab.callbacks.balance import Balance
from kdlab.data.loader import ShuffledLoader, place
from kdlab.modules.distilled import Distilled
from kdlab.modules.fitted import Fitted
from kdlab.modules.joint import Joint
from kdlab.modules.recorded import Recorded
from kdlab.modules.supervised import Supervised
from kdlab.randomness import global_state, restore_global_state

#: These classes keep everything that they gather during an epoch in the checkpoint; of others this is not known.
MODULES = (Supervised, Distilled, Joint, Fitted, Recorded)
CALLBACKS = (Balance, EarlyStopping, LearningRateMonitor, WeightAveraging, EMAWeightAveraging)


def state_of(trainer: lightning.Trainer) -> dict[str, Any]:
    """Return the state in plain types; all ranks must call this together, because each has its own random state."""
    states: list[Any] = [global_state()]
    if trainer.world_size > 1:
        states = [None] * trainer.world_size
        torch.distributed.all_gather_object(states, global_state())
    module = trainer.lightning_module
    return {
        "random": states,
        "generators": {name: [g.get_state() for g in found] for name, found in _generators(trainer).items() if found},
        "metrics": {name: torch.as_tensor(value).detach().cpu() for name, value in trainer.callback_metrics.items()},
        "should_stop": trainer.should_stop,
        "frozen": [name for name, parameter in module.named_parameters() if not parameter.requires_grad],
        "evaluating": [name for name, part in module.named_modules() if not part.training],
        "reloaded": trainer.fit_loop._last_train_dl_reload_epoch,
    }


def restore(trainer: lightning.Trainer, state: dict[str, Any]) -> None:
    """Restore a training to the state from ``state_of``; called before anything of the epoch, or of its rest, begins.

    With another number of devices than before, all ranks get the random state of the first one.
    """
    module, fit_loop = trainer.lightning_module, trainer.fit_loop
    for name, parameter in module.named_parameters():
        parameter.requires_grad = name not in state["frozen"]
    for name, part in module.named_modules():
        part.training = name not in state["evaluating"]
    trainer.callback_metrics.update({n: value.to(module.device) for n, value in state["metrics"].items()})
    trainer.should_stop = state["should_stop"]
    fit_loop._last_train_dl_reload_epoch = state["reloaded"]
    # Lightning itself restores the state of loaders only in the middle of an epoch.
    if fit_loop._combined_loader is not None:
        fit_loop._combined_loader._load_state_dicts(fit_loop._combined_loader_states_to_load)
    _restore_generators(trainer, state["generators"])
    states = state["random"]
    restore_global_state(states[place()[0] if len(states) == trainer.world_size else 0])


def restart_workers(trainer: lightning.Trainer) -> None:
    """Make ``persistent_workers`` begin anew with each epoch, as they must in a training that is resumed there.

    Their random states change with each epoch, and can be neither saved nor restored.
    """
    for loader in loaders(trainer):
        if isinstance(loader, DataLoader) and loader.persistent_workers:
            loader._iterator = None


def not_before_epochs(trainer: lightning.Trainer) -> str | None:
    """Return why no checkpoint may be made before this epoch, or None if one may.

    Lightning rebuilds the scheduler of a ``StochasticWeightAveraging`` on resume, which changes the learning rate.
    Loaders that are made anew every few epochs may have been made in an epoch that a resume cannot repeat.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StochasticWeightAveraging) and trainer.current_epoch > callback.swa_start:
            return "StochasticWeightAveraging has begun"
    every = trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined]
    if every and not trainer.fit_loop._should_reload_train_dl and _foreign(trainer):
        return f"loaders are made anew every {every} epochs"
    return None


def only_before_epochs(trainer: lightning.Trainer, callbacks: Sequence[lightning.Callback]) -> str | None:
    """Return why no checkpoint may be made in the middle of an epoch, or None if one may.

    Args:
        trainer: with its module and loaders.
        callbacks: the callbacks that come from the experiment.
    """
    if trainer.world_size > 1:
        return "several devices agree on a moment there only"
    foreign = [type(loader).__name__ for loader in _foreign(trainer)]
    if foreign:
        return f"{foreign[0]} cannot go on within an epoch as kdlab's loader does"
    parts = [(trainer.lightning_module, MODULES), *((callback, CALLBACKS) for callback in callbacks)]
    unknown = [type(part).__name__ for part, checkpointed in parts if type(part) not in checkpointed]
    return f"{unknown[0]} may keep more of an epoch than its checkpoint holds" if unknown else None


def loaders(trainer: lightning.Trainer) -> Iterator[Any]:
    """Yield the existing loaders of training and validation, in a fixed order."""
    for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop.val_loop):
        if loop._combined_loader is not None:
            yield from loop._combined_loader.flattened


def _foreign(trainer: lightning.Trainer) -> list[Any]:
    combined = trainer.fit_loop._combined_loader
    return [] if combined is None else [one for one in combined.flattened if not isinstance(one, ShuffledLoader)]


def _generators(trainer: lightning.Trainer) -> dict[str, list[torch.Generator]]:
    """Return the generators of torch's loaders and samplers, each once; validation's only if its loaders exist."""
    fit_loop = trainer.fit_loop
    combined = {"train": fit_loop._combined_loader, "val": fit_loop.epoch_loop.val_loop._combined_loader}
    found = {}
    for name, loader in combined.items():
        if loader is not None:
            # A loader and its sampler may share one generator, which must be restored once.
            found[name] = list({id(one): one for part in loader.flattened for one in _generators_of(part)}.values())
    return found


def _generators_of(loader: object) -> Iterator[torch.Generator]:
    if not isinstance(loader, DataLoader):
        return
    batches = getattr(loader.batch_sampler, "sampler", None)
    for part in (loader, loader.sampler, loader.batch_sampler, batches, loader.dataset):
        generator = getattr(part, "generator", None)
        if isinstance(generator, torch.Generator):
            yield generator


def _restore_generators(trainer: lightning.Trainer, kept: dict[str, list[torch.Tensor]]) -> None:
    if "val" in kept and "val" not in _generators(trainer):
        # The validation loaders, and with them the generators to restore, exist only after their setup.
        trainer.validating = True
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
        trainer.training = True
    generators = _generators(trainer)
    for name, states in kept.items():
        for generator, state in zip(generators[name], states, strict=True):
            generator.set_state(state)
