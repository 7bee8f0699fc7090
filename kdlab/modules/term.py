"""A term of the distillation loss: a loss, its weight, and where its tensors come from."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import nn

from kdlab.explainers.base import Attribution
from kdlab.modules.schedules import Schedule
from kdlab.signals.capture import Spot, find_layer
from kdlab.signals.vocabulary import Asked, Signals


@runtime_checkable
class Sized(Protocol):
    """A loss with parts whose size depends on the data; it creates them from one batch before there is an optimiser."""

    # Each loss names the signals it needs, so the parameters are not fixed here.
    def prepare(self, *args: Any, **kwargs: Any) -> None: ...  # noqa: ANN401, D102


@dataclass
class Term:
    """One term ``weight * loss(...)`` of ``L_t``.

    Args:
        loss: any module whose ``forward`` names the signals it needs and returns a scalar.
        weight: w_k, relative to the other terms; alpha scales them all. No unit, >= 0.
        takes: renames, ``{parameter: signal}``: ``{input: logits, target: teacher_logits}`` makes ``torch.nn.MSELoss``
            a distillation loss.
        layers: pairs ``{path in the student: path in the teacher}`` whose tensors become ``features`` and
            ``teacher_features``, in this order. A path is a module's name; ``:input`` after it means the module's
            input, ``:weights`` its attention weights.
        explainer: makes ``attributions`` of the student; a callable from the model, which must be differentiable.
        teacher_explainer: the same for the teacher; the student's if left out.
        every_n_steps: the term counts on each n-th optimiser step only, >= 1.
        schedule: changes the weight over the epochs, such as ``LinearWarmUp(20)``; None leaves it unchanged.
        frozen_teacher_maps: whether the teacher's attributions of all training samples are computed once, before
            training, and looked up by (index, view). They equal live ones, cost one explanation per sample and as much
            memory as the inputs, and need kdlab's data without random augmentation.

    Raises:
        ValueError: If the weight is negative, every_n_steps is below 1, or maps are frozen without an explainer.
    """

    loss: nn.Module
    weight: float = 1.0
    takes: dict[str, str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    explainer: Callable[[nn.Module], Attribution] | None = None
    teacher_explainer: Callable[[nn.Module], Attribution] | None = None
    every_n_steps: int = 1
    schedule: Schedule | None = None
    frozen_teacher_maps: bool = False

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must not be negative, got {self.weight}")
        if self.every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {self.every_n_steps}")
        if self.frozen_teacher_maps and self.explainer is None:
            raise ValueError("frozen_teacher_maps needs an explainer such as InputGradient")

    def weight_at(self, epoch: int) -> float:
        """Return w_k in an epoch, counted from 0."""
        return self.weight if self.schedule is None else self.weight * self.schedule.factor(epoch)


#: A term's name must also work as a submodule's name, as a key of the experiment file and as a metric's name.
POSSIBLE = re.compile(r"[^\W\d_][\w-]*")
#: Names that kdlab's modules use for their own terms and for the sum of all terms.
OWN = frozenset({"task", "loss", "help_back"})
#: Endings of the names under which more than a term's value is logged.
BESIDE = ("_weight", "_dead")


def check_names(names: Collection[str]) -> None:
    """Refuse names of distillation terms that already mean something else, or that cannot be used as a name.

    Raises:
        ValueError: With the name and the possible names.
    """
    # Asked anew, because libraries add attributes to torch's classes when they are imported.
    attributes = dir(nn.ModuleDict())
    for name in names:
        of_another = [name.removesuffix(end) for end in BESIDE if name.removesuffix(end) in set(names) - {name}]
        if not POSSIBLE.fullmatch(name):
            why = "is no name"
        elif name in OWN:
            why = "is kdlab's own name of a term"
        elif name in attributes:
            why = "is something that torch.nn.ModuleDict has already"
        elif of_another:
            why = f"is how a number of term {of_another[0]!r} is logged"
        else:
            continue
        raise ValueError(
            f"a term cannot be called {name!r}, which {why}; take a letter, then letters, digits, _ and -, such as "
            f"soft or hint_2, and none of {', '.join(sorted(OWN))}"
        )


def check_term(name: str, term: Term, asked: Asked) -> None:
    """Refuse a term whose loss and settings do not fit each other.

    Raises:
        KeyError: If the loss asks for features and the term names no layers, if it asks for attributions and there is
            no explainer, or if layers are named that the loss does not use.
    """
    needed = set(asked.needed.values())
    if needed & {"features", "teacher_features"} and not term.layers:
        raise KeyError(
            f"term {name!r} asks for features; name its layers: {{path in the student: path in the teacher}}"
        )
    if needed & {"attributions", "teacher_attributions"} and term.explainer is None:
        raise KeyError(f"term {name!r} asks for attributions; give it an explainer such as InputGradient")
    if term.layers and not (asked.names() & {"features", "teacher_features"}):
        raise KeyError(f"term {name!r} names layers, but {type(term.loss).__name__} asks for no features; drop them")


def check_layers(name: str, paths: Mapping[str, nn.Module]) -> None:
    """Refuse layer paths that do not exist.

    Args:
        name: the term's name.
        paths: each path with the network in which it must exist.

    Raises:
        KeyError: If a path does not exist; the message names the path, the existing layers and the nearest match.
    """
    for path, network in paths.items():
        try:
            find_layer(network, Spot.parse(path).path)
        except KeyError as error:
            raise KeyError(f"term {name!r}: {error.args[0]}") from error


def given(loss: Sized, takes: Mapping[str, str], signals: Signals) -> dict[str, Any]:
    """Return the arguments of a loss's ``prepare``, which names its signals by the same parameters as ``forward``."""
    renamed = {parameter: takes.get(parameter, parameter) for parameter in Asked(loss.prepare).needed}
    return {parameter: signals[name] for parameter, name in renamed.items()}
