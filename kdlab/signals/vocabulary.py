"""The vocabulary of tensors, and calling a loss or metric with exactly the names it asks for.

A term says what it needs by naming it as a parameter. The running stage offers the names below and computes only
those that somebody asked for. It is torchmetrics' own filter rule (``MetricCollection``), extended to losses.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

VOCABULARY: dict[str, str] = {
    "inputs": "the batch's inputs, (batch, ...)",
    "target": "class labels, (batch,), -1 where a sample is unlabelled",
    "index": "the sample's identity over all splits, (batch,)",
    "view": "which fixed view of the sample this is, (batch,); absent where the view is drawn at random",
    "mask": "where a person says that the evidence lies, of the inputs' shape",
    "groups": "the group of each sample, (batch,)",
    "model": "the network that is trained or scored",
    "logits": "its outputs, (batch, classes)",
    "preds": "the same as logits, torchmetrics' word",
    "features": "its tensors at the layers named at this term, a list in that order",
    "attributions": "its attributions of the explained class, of the inputs' shape",
    "teacher": "the frozen teacher, a callable from inputs to logits",
    "teacher_logits": "the teacher's outputs, (batch, classes)",
    "teacher_features": "the teacher's tensors at the layers paired with those of features",
    "teacher_attributions": "the teacher's attributions of the explained class, of the inputs' shape",
    "explained": "the class that is explained, (batch,)",
    "baseline": "what stands for an absent feature, of one input's shape",
    "attribute": "a callable (inputs, class) -> attributions, for metrics that explain again",
    "multiplies_by_inputs": "whether attributions are contributions as they stand, or slopes (False)",
    "explainer": "the explainer that is trained with the student",
    "explainer_logits": "the explainer's own prediction of the student, (batch, classes)",
    "explainer_attributions": "the explainer's attributions of the explained class, of the inputs' shape",
}


class Asked:
    """The names that a callable asks for: those it must have and those it takes where they exist."""

    def __init__(self, function: Callable[..., Any], takes: Mapping[str, str] | None = None) -> None:
        takes = takes or {}
        named = [
            parameter
            for parameter in inspect.signature(function).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        unknown = sorted(set(takes) - {parameter.name for parameter in named})
        if unknown:
            raise KeyError(
                f"takes renames {unknown}, but {_name(function)} has only {[parameter.name for parameter in named]}"
            )
        self.needed = {p.name: takes.get(p.name, p.name) for p in named if p.default is p.empty or p.name in takes}
        self.optional = {p.name: p.name for p in named if p.name not in self.needed}

        self._function = function

    def names(self) -> frozenset[str]:
        """All signals that the callable may be given."""
        return frozenset(self.needed.values()) | frozenset(self.optional.values())

    def missing(self, offered: Iterable[str]) -> list[str]:
        """Those signals that the callable must have and that are not among those offered."""
        return sorted(set(self.needed.values()) - set(offered))

    def __call__(self, signals: Mapping[str, Any]) -> Any:  # noqa: ANN401  what the callable returns
        """Call with exactly the signals that are asked for; a KeyError names those that are not offered."""
        lacking = [name for name in self.needed.values() if name not in signals]
        if lacking:
            raise KeyError(explain_missing(_name(self._function), sorted(set(lacking)), signals))
        arguments = {parameter: signals[name] for parameter, name in self.needed.items()}
        arguments |= {parameter: signals[name] for parameter, name in self.optional.items() if name in signals}
        return self._function(**arguments)


Compute = Callable[["Signals"], Any]


class Signals(Mapping[str, Any]):
    """Signals by name; one that is given as a function of the signals is computed when first asked for, and once."""

    def __init__(self, known: Mapping[str, Any], computed: Mapping[str, Compute] | None = None) -> None:
        self._known = dict(known)
        self._computed = dict(computed or {})

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  a signal may be a tensor, a list or a module
        if name not in self._known:
            self._known[name] = self._computed[name](self)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self._computed

    def __iter__(self) -> Iterator[str]:
        return iter({**self._known, **self._computed})

    def __len__(self) -> int:
        return len({**self._known, **self._computed})

    def joined(self, known: Mapping[str, Any], computed: Mapping[str, Compute] | None = None) -> "Signals":
        """These signals over the old ones, which are still computed once for all that were joined from them."""
        inherited: dict[str, Compute] = {name: _from(self, name) for name in self if name not in known}
        return Signals(known, {**inherited, **(computed or {})})


def _from(signals: Signals, name: str) -> Compute:
    return lambda _: signals[name]


def wanted(function: Callable[..., Any], takes: Mapping[str, str] | None = None) -> frozenset[str]:
    """The signals that a callable asks for by the names of its parameters, after the renames of ``takes``."""
    return Asked(function, takes).names()


def call(function: Callable[..., Any], signals: Mapping[str, Any], takes: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401
    """Call with exactly the signals that are asked for.

    Raises:
        KeyError: If a signal is asked for that is not offered; the message names it, the offer and the nearest match.
    """
    return Asked(function, takes)(signals)


def explain_missing(who: str, lacking: Iterable[str], offered: Iterable[str]) -> str:
    """One line: who asks for what, what there is here, and what to do."""
    offered = sorted(offered)
    lines = []
    for name in lacking:
        near = difflib.get_close_matches(name, offered, n=1)
        if near:
            lines.append(f"{name!r} (did you mean {near[0]!r}?)")
        elif name in VOCABULARY:
            lines.append(f"{name!r} ({VOCABULARY[name]})")
        else:
            lines.append(repr(name))
    return f"{who} asks for {', '.join(lines)}; this stage offers {offered}; rename with takes, or change the stage"


def _name(function: Callable[..., Any]) -> str:
    owner = getattr(function, "__self__", None)
    return type(owner).__name__ if owner is not None else getattr(function, "__qualname__", repr(function))
