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
    """A loss with parts that are sized by the data: it makes them from one batch, before there is an optimiser."""

    # Each loss names the signals it needs, so the parameters are open.
    def prepare(self, *args: Any, **kwargs: Any) -> None: ...  # noqa: ANN401, D102


@dataclass
class Term:
    """One term ``weight * loss(...)`` of ``L_t``.

    Args:
        loss: any module whose ``forward`` names the signals it needs and returns a scalar.
        weight: w_k, relative to its sisters; alpha scales them all. No unit, >= 0.
        takes: renames, ``{parameter: signal}``: ``{input: logits, target: teacher_logits}`` makes ``torch.nn.MSELoss``
            a distillation loss.
        layers: pairs ``{path in the student: path in the teacher}`` whose tensors become ``features`` and
            ``teacher_features``, in this order. A path is a module's name, with ``:input`` or ``:weights`` behind it
            for what goes in or for attention weights.
        explainer: what makes ``attributions`` of the student, a callable from the model; it must be differentiable.
        teacher_explainer: the same for the teacher; the student's if left out.
        every_n_steps: the term counts on each n-th optimiser step only, >= 1.
        schedule: changes the weight over the epochs, such as ``LinearWarmUp(20)``; None leaves it as it is.
        frozen_teacher_maps: whether the teacher's attributions are computed once, before training, for all training
            samples, and looked up by (index, view). They equal live ones, cost one explanation a sample and the memory
            of the inputs, and need kdlab's data without random augmentation.

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
        """w_k in an epoch."""
        return self.weight if self.schedule is None else self.weight * self.schedule.factor(epoch)


#: What a term may be called: it is a submodule's name, a key of the file and a metric's name at once.
POSSIBLE = re.compile(r"[^\W\d_][\w-]*")
#: Terms of the modules' own, and the sum of all.
OWN = frozenset({"task", "loss", "help_back"})
#: What ``nn.ModuleDict`` has as an attribute, it cannot have as a key.
TAKEN = frozenset(dir(nn.ModuleDict()))
#: What is logged of a term beside its value, behind its name.
BESIDE = ("_weight", "_dead")


def check_names(names: Collection[str]) -> None:
    """Refuse names of distillation terms that stand for something else already, or that nothing can be called.

    Raises:
        ValueError: With the name and what names are possible.
    """
    for name in names:
        of_another = [name.removesuffix(end) for end in BESIDE if name.removesuffix(end) in set(names) - {name}]
        if not POSSIBLE.fullmatch(name):
            why = "is no name"
        elif name in OWN:
            why = "is kdlab's own name of a term"
        elif name in TAKEN:
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
    """Refuse a term that asks for what only its own settings could give.

    Raises:
        KeyError: If it asks for features without layers, for attributions without an explainer, or has layers in vain.
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
    """Refuse a layer path that leads nowhere.

    Args:
        name: the term's.
        paths: each path with the network in which it should lead somewhere.

    Raises:
        KeyError: If it does not; the message has what was asked, what there is, and the nearest match.
    """
    for path, network in paths.items():
        try:
            find_layer(network, Spot.parse(path).path)
        except KeyError as error:
            raise KeyError(f"term {name!r}: {error.args[0]}") from error


def given(loss: Sized, takes: Mapping[str, str], signals: Signals) -> dict[str, Any]:
    """The arguments of a loss's ``prepare``: it knows its signals by the same parameter names as ``forward``."""
    renamed = {parameter: takes.get(parameter, parameter) for parameter in Asked(loss.prepare).needed}
    return {parameter: signals[name] for parameter, name in renamed.items()}
