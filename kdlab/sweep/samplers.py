"""Optuna's samplers and pruners by class path, with defaults that fit several workers."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler

from kdlab.configuration.calls import Call, built
from kdlab.configuration.document import Document
from kdlab.configuration.type_check import check_class
from kdlab.errors import listing, suggestion


@dataclass(frozen=True)
class Made:
    """A class of Optuna with its arguments, from which each worker makes an object of its own.

    Args:
        kind: the class.
        arguments: what it is called with, by name.
    """

    kind: type[Any]
    arguments: Mapping[str, Any]

    def sampler(self, seed: int) -> BaseSampler:
        """Return a new sampler; it gets the seed if it takes one and the file does not give one."""
        arguments = dict(self.arguments)
        if "seed" in inspect.signature(self.kind).parameters and arguments.get("seed") is None:
            arguments["seed"] = seed
        made: BaseSampler = self.kind(**arguments)
        return made

    def pruner(self) -> BasePruner:
        """Return a new pruner."""
        made: BasePruner = self.kind(**self.arguments)
        return made


def sampler(document: Document, objectives: int, conditional: bool) -> Made:
    """Return the sampler that the file names; by default a multivariate TPE that knows of the other workers' trials.

    Args:
        document: the sweep file.
        objectives: how many objectives there are.
        conditional: whether some entries of the search exist only under conditions.

    Raises:
        ConfigurationError: If what the file names is no sampler, or refuses its arguments.
    """
    if document.content.get("sampler") is None:
        # `group` splits a conditional space into parts, and samples the entries of each part jointly.
        return Made(TPESampler, {"multivariate": True, "constant_liar": True, "group": conditional})
    made = _made(document, "sampler", "optuna.samplers", BaseSampler)
    made.sampler(0)
    return made


def pruner(document: Document, objectives: int, epochs: int) -> Made:
    """Return the pruner that the file names; by default none for several objectives, else Optuna's median pruner.

    The median pruner judges no trial in the first quarter of its epochs, because learning rates and warm-ups look worse
    at first than they are.

    Args:
        document: the sweep file.
        objectives: how many objectives there are.
        epochs: how many epochs the last judged stage has; 0 where that is not known.

    Raises:
        ConfigurationError: If what the file names is no pruner, or refuses its arguments.
    """
    if "pruner" not in document.content:
        if objectives > 1:
            return Made(NopPruner, {})
        return Made(MedianPruner, {"n_startup_trials": 5, "n_warmup_steps": epochs // 4})
    if document.content["pruner"] is None:
        return Made(NopPruner, {})
    made = _made(document, "pruner", "optuna.pruners", BasePruner)
    made.pruner()
    return made


def _made(document: Document, key: str, package: str, base: type[Any]) -> Made:
    written = document.content[key]
    spec = {"class_path": written} if isinstance(written, str) else written
    if not isinstance(spec, Mapping) or not isinstance(spec.get("class_path"), str):
        raise (document / key).error(f"expected {{class_path: …, init_args: {{…}}}}, got {written!r}")
    name = spec["class_path"]
    if "." not in name:
        members = vars(optuna.samplers if key == "sampler" else optuna.pruners)
        there = [other for other, kind in members.items() if inspect.isclass(kind) and issubclass(kind, base)]
        if name not in there:
            raise (document / key).error(
                f"Optuna has no {key} {name!r}{suggestion(name, there)}; it has {listing(there)}"
            )
        spec = {**spec, "class_path": f"{package}.{name}"}
    call: Call = check_class(spec, [base], document / key)
    call.build()  # so that a refused argument is reported with its place in the file
    arguments = {name: built(call.arguments[name]) for name in spec.get("init_args") or {}}
    return Made(call.target, arguments)  # type: ignore[arg-type]  # a class, by check_class
