"""The kind of a class, told by what it derives from. Importing this module imports torch and Lightning."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as lightning
from torch import nn
from torchmetrics import Metric

from kdlab.configuration.calls import Opaque
from kdlab.configuration.classes import IMPORT_ERRORS, add_to_path
from kdlab.configuration.signatures import Parameter, signature_of
from kdlab.configuration.sources import folder_classes, kind_of_path, package_classes
from kdlab.configuration.type_hints import described, makes
from kdlab.errors import first_line
from kdlab.explainers.base import Attribution
from kdlab.modules.combinations import Combination
from kdlab.modules.schedules import Schedule
from kdlab.signals.vocabulary import VOCABULARY
from kdlab.teacher import Teacher

#: Classes of a kind derive from one of these, or have a protocol's methods; the first kind that fits counts.
BASES = {
    "data": (lightning.LightningDataModule,),
    "callbacks": (lightning.Callback,),
    "metrics": (Metric,),
    "modules": (lightning.LightningModule, Combination, Teacher, Schedule),
    "explainers": (Attribution,),
}
#: Signals that a loss may take but a network does not.
LOSS_SIGNALS = VOCABULARY.keys() - {"inputs", "mask"}


def kind_of(target: type) -> str | None:
    """Return the kind as which an experiment can name a class; None if the class only serves others."""
    if inspect.isabstract(target) or getattr(target, "_is_protocol", False):
        return None
    arguments = signature_of(target).parameters
    if not issubclass(target, nn.Module):
        return _kind_by_bases(target)
    if "loss" in arguments:
        return "losses"  # its ``forward`` does not show its signals, which are those of the loss that it wraps
    if target.forward is nn.Module.forward:
        return None
    takes = signature_of(target.forward).parameters.keys()
    return _kind_by_bases(target) or ("losses" if LOSS_SIGNALS & takes else "models")


def _kind_by_bases(target: type) -> str | None:
    return next((kind for kind, bases in BASES.items() if any(makes(target, base) for base in bases)), None)


def classes_of_package(kind: str) -> Iterator[tuple[str, type]]:
    """Yield short names and classes of kdlab's own classes of a kind."""
    for name, path in package_classes().items():
        if kind_of_path(path) == kind:
            target = getattr(importlib.import_module(path.rpartition(".")[0]), name)
            if kind_of(target) == kind:
                yield name, target


def classes_of_folder(folder: Path) -> tuple[list[tuple[str, type]], list[str]]:
    """Return full paths and classes of a user's folder, and a line for each module that cannot be imported."""
    add_to_path(folder)
    classes: list[tuple[str, type]] = []
    failures: dict[str, str] = {}
    for path, name in folder_classes(folder).items():
        module = path.rpartition(".")[0]
        try:
            classes.append((path, getattr(importlib.import_module(module), name)))
        except IMPORT_ERRORS as error:
            failures[module] = f"{module} cannot be imported: {type(error).__name__}: {first_line(error)}"
    return classes, list(failures.values())


def call_of(name: str, target: type) -> str:
    """Return the class with its constructor's arguments, their types described as in error messages."""
    return f"{name}({', '.join(map(_argument, signature_of(target).parameters.values()))})"


def _argument(parameter: Parameter) -> str:
    text = f"{parameter.name}: {described(parameter.type)}"
    default = parameter.default
    if parameter.required:
        return text
    if default is None or default is Opaque.VALUE:
        return f"{text} = {'null' if default is None else '…'}"
    return f"{text} = {default.__name__ if inspect.isclass(default) else repr(default)}"
