"""Parameters of constructors and their types, including those of base classes that take over the ``**kwargs``."""

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
    """One parameter; its ``type`` is Any if the source gives none, or none that can be resolved."""

    name: str
    type: Any
    default: Any = inspect.Parameter.empty

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Signature:
    """The parameters of a class or function in order; an ``open`` signature takes any further keyword."""

    parameters: dict[str, Parameter]
    open: bool

    def without_first(self, count: int) -> "Signature":
        """Return the signature without its first parameters, which a caller gives by position."""
        return Signature(dict(list(self.parameters.items())[count:]), self.open)

    def without(self, names: Sequence[str]) -> "Signature":
        """Return the signature without the parameters of these names."""
        return Signature({name: p for name, p in self.parameters.items() if name not in names}, self.open)


@lru_cache(maxsize=512)
def signature_of(target: Callable[..., Any]) -> Signature:
    """Return the parameters of a function, or of a class's constructor.

    A constructor that takes ``**kwargs`` also has the parameters of the next base class's constructor, and so on
    upwards. It may give some of them itself, so none of those is required, and their defaults are left to the
    constructor.
    """
    try:
        parameters, is_open = _own(target, target)
    except ValueError:  # built in C, without a signature
        return Signature({}, True)
    if inspect.isclass(target) and is_open:
        for base in target.__mro__[1:]:
            # A constructor that is written in C does not say what it takes.
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
    """Return the default; for a dataclass's field with a default factory, return what the factory makes."""
    # The signature of a dataclass shows a marker in place of what a factory makes.
    field = getattr(owner, "__dataclass_fields__", {}).get(parameter.name)
    if field is None or field.default_factory is dataclasses.MISSING:
        return parameter.default
    return field.default_factory()


def _resolved(annotation: Any, owner: Any) -> Any:  # noqa: ANN401  any type
    """Return the type that an annotation means; Any if there is none, or if it exists only for type checkers."""
    if annotation is inspect.Parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    # An inherited constructor's annotations may be texts with names of the module that defines the base class.
    for definer in getattr(owner, "__mro__", (owner,)):
        module = sys.modules.get(getattr(definer, "__module__", ""), None)
        try:
            return typing.get_type_hints(holder, globalns=vars(module) if module is not None else {})["it"]
        except (NameError, TypeError, AttributeError, SyntaxError):
            continue
    return Any
