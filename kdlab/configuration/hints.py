"""What a type hint asks of a configuration file: a plain value, a class path, or a class that is called later."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import PurePath
from typing import Any

from kdlab.errors import listing

# Type hints are classes, unions, generics and special forms: they have no common type but Any.
Hint = Any

#: Classes whose objects are written as plain values.
PLAIN = (str, int, float, bool, complex, bytes, type(None), PurePath, Enum, type, list, tuple, dict, set, frozenset)


def origin_of(hint: Hint) -> Hint:
    """What a generic was made of: list for ``list[int]``; None for a plain class."""
    # Typed as Any, because the overloads of typing.get_origin are about special forms only.
    return typing.get_origin(hint)


def members(hint: Hint) -> tuple[Hint, ...]:
    """The options of a union; the hint alone where it is none."""
    if origin_of(hint) is typing.Annotated:
        return members(typing.get_args(hint)[0])
    if origin_of(hint) in (typing.Union, types.UnionType):
        return tuple(option for member in typing.get_args(hint) for option in members(member))
    return (hint,)


def is_class(hint: Hint) -> bool:
    """Whether objects of this type are written as a class path."""
    origin = origin_of(hint) or hint
    if not inspect.isclass(origin) or origin in (Any, object) or issubclass(origin, PLAIN):
        return False
    return origin.__module__ not in ("collections.abc", "typing")


def is_factory(hint: Hint) -> bool:
    """Whether something is wanted that is called later, with more arguments."""
    return hint is Callable or hint is typing.Callable or origin_of(hint) is Callable


def is_plain(hint: Hint) -> bool:
    """Whether values of this type are written without a class path."""
    return not is_class(hint) and not is_factory(hint)


def positional(factory: Hint) -> int:
    """How many arguments the caller of a factory gives."""
    arguments = typing.get_args(factory)
    return len(arguments[0]) if arguments and isinstance(arguments[0], Sequence) else 0


def result(factory: Hint) -> Hint:
    """What a factory makes."""
    arguments = typing.get_args(factory)
    return arguments[-1] if arguments else Any


def holds_class(hint: Hint) -> bool:
    """Whether a class path may stand somewhere in a value of this type."""
    return any(
        not is_plain(option) or any(holds_class(inner) for inner in typing.get_args(option)) for option in members(hint)
    )


def takes_text(hint: Hint) -> bool:
    """Whether a text is a value of this type, and not the name of a class."""
    return any(option is str or option is Any or origin_of(option) is typing.Literal for option in members(hint))


def item(hint: Hint, value: object) -> Hint | None:
    """The type of the items of a container that holds classes, where the value is such a container."""
    origin, arguments = origin_of(hint), typing.get_args(hint)
    if not inspect.isclass(origin) or not arguments:
        return None
    if issubclass(origin, Mapping):
        fits, inner = isinstance(value, Mapping) and len(arguments) == 2, arguments[-1]
    else:
        fits, inner = isinstance(value, list) and issubclass(origin, Iterable), arguments[0]
        fits = fits and (len(arguments) == 1 or arguments[1:] == (Ellipsis,))
    return inner if fits and holds_class(inner) else None


def makes(target: Callable[..., Any], hint: Hint) -> bool:
    """Whether calling the target gives an object of this type, as far as its source says."""
    wanted = origin_of(hint) or hint
    if not inspect.isclass(wanted) or wanted in (Any, object):
        return True
    made = target if inspect.isclass(target) else _returned(target)
    if not inspect.isclass(made):
        return made is Any
    if getattr(wanted, "_is_protocol", False):
        # Methods by name are all that is compared: a user's class need not repeat the protocol's annotations.
        return all(any(name in vars(base) for base in made.__mro__) for name in _methods(wanted))
    return issubclass(made, wanted)


def said(hint: Hint) -> str:
    """A type as a reader would say it: ``int or null``, ``list[int]``, ``Module`` for ``nn.Module``."""
    if hint is Any:
        return "any value"
    if len(members(hint)) > 1:
        return " or ".join(said(option) for option in members(hint))
    if hint is type(None):
        return "null"
    if is_factory(hint):
        return "a function or class" if result(hint) is Any else f"a class that makes {said(result(hint))}"
    origin, arguments = origin_of(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + listing(repr(argument) for argument in arguments)
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return "one of " + listing(member.name for member in hint)
    if origin is not None and arguments:
        return f"{said(origin)}[{', '.join('...' if inner is Ellipsis else said(inner) for inner in arguments)}]"
    return str(getattr(hint, "__name__", hint))


def _returned(function: Callable[..., Any]) -> Hint:
    try:
        hint = typing.get_type_hints(function).get("return", Any)
    except (NameError, TypeError):
        return Any
    return origin_of(hint) or hint


def _methods(protocol: type) -> list[str]:
    return [
        name
        for base in protocol.__mro__
        if getattr(base, "_is_protocol", False)
        for name, member in vars(base).items()
        if inspect.isfunction(member) and (name == "__call__" or not name.startswith("_"))
    ]
