"""Constructors' parameters and their types, through the bases that ``**kwargs`` are handed to."""

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from kdlab.configuration.calls import Opaque


@dataclass(frozen=True)
class Parameter:
    """One argument; ``type`` is Any where the source does not say, or not in a form that can be found."""

    name: str
    type: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Signature:
    """The arguments of a class or function in order; an ``open`` one takes any further keyword."""

    parameters: dict[str, Parameter]
    open: bool

    def without_first(self, count: int) -> "Signature":
        """The same less the first arguments, which a caller gives by position."""
        return Signature(dict(list(self.parameters.items())[count:]), self.open)

    def without(self, names: Sequence[str]) -> "Signature":
        """The same less the arguments of these names."""
        return Signature({name: p for name, p in self.parameters.items() if name not in names}, self.open)


@lru_cache(maxsize=512)
def signature_of(target: Callable[..., Any]) -> Signature:
    """The arguments of a class's constructor or of a function.

    A constructor that takes ``**kwargs`` has the arguments of the next base's constructor too, and so on upwards. It
    may give some of them itself, so none of those is required, and their defaults are left to the constructor.
    """
    try:
        parameters, is_open = _own(target, target)
    except ValueError:  # built in C, without a signature
        return Signature({}, True)
    if inspect.isclass(target) and is_open:
        for base in target.__mro__[1:]:
            # Only constructors that are written in Python say what they take.
            if is_open and base is not object and isinstance(base.__dict__.get("__init__"), types.FunctionType):
                further, is_open = _own(base.__dict__["__init__"], base, skip=1)
                parameters = {**{name: replace(p, default=Opaque.VALUE) for name, p in further.items()}, **parameters}
    return Signature(parameters, is_open)


def _own(target: Callable[..., Any], owner: Any, skip: int = 0) -> tuple[dict[str, Parameter], bool]:  # noqa: ANN401  class or function
    parameters = list(inspect.signature(target).parameters.values())[skip:]
    by_name = {
        parameter.name: Parameter(
            parameter.name, _resolved(parameter.annotation, owner), _made_default(owner, parameter)
        )
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY)
    }
    return by_name, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _made_default(owner: Any, parameter: inspect.Parameter) -> Any:  # noqa: ANN401  any value
    """The default; of a dataclass's field with a default factory what the factory makes."""
    field = getattr(owner, "__dataclass_fields__", {}).get(parameter.name)
    if field is None or field.default_factory is dataclasses.MISSING:
        return parameter.default
    return field.default_factory()


def _resolved(annotation: Any, owner: Any) -> Any:  # noqa: ANN401  any type
    """The type that an annotation means; Any where it is absent or names what exists for type checkers only."""
    if annotation is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    for definer in getattr(owner, "__mro__", (owner,)):
        module = sys.modules.get(getattr(definer, "__module__", ""), None)
        try:
            return typing.get_type_hints(holder, globalns=vars(module) if module is not None else {})["it"]
        except (NameError, TypeError, AttributeError, SyntaxError):
            continue
    return Any
