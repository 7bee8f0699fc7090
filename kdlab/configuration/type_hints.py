"""What a type hint expects of a configuration file: a plain value, a class path, or a class that is called later."""

import contextlib
import inspect
import pkgutil
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
    """Return what a generic type was made of: list for ``list[int]``; None for a plain class."""
    # The hint is Any because the overloads of typing.get_origin know special forms only.
    return typing.get_origin(hint)


def members(hint: Hint) -> tuple[Hint, ...]:
    """Return the options of a union; a type that is no union is its only option."""
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
    # Abstract containers such as Sequence are classes too, but their values are written as plain lists and mappings.
    return origin.__module__ not in ("collections.abc", "typing")


def is_factory(hint: Hint) -> bool:
    """Whether values of this type are functions or classes that are called later, with more arguments."""
    return hint is Callable or hint is typing.Callable or origin_of(hint) is Callable


def is_plain(hint: Hint) -> bool:
    """Whether values of this type are written without a class path."""
    return not is_class(hint) and not is_factory(hint)


def positional(factory: Hint) -> int:
    """Return how many arguments the caller of a factory gives by position."""
    arguments = typing.get_args(factory)
    return len(arguments[0]) if arguments and isinstance(arguments[0], Sequence) else 0


def result(factory: Hint) -> Hint:
    """Return the type of what a factory makes; Any if the hint does not say."""
    arguments = typing.get_args(factory)
    return arguments[-1] if arguments else Any


def holds_class(hint: Hint) -> bool:
    """Whether a class path may stand somewhere in a value of this type."""
    return any(
        not is_plain(option) or any(holds_class(inner) for inner in typing.get_args(option)) for option in members(hint)
    )


def takes_text(hint: Hint) -> bool:
    """Whether a text can be a value of this type, instead of the name of a class."""
    return any(option is str or option is Any or origin_of(option) is typing.Literal for option in members(hint))


def takes(hint: Hint, kind: type) -> bool:
    """Whether the type takes an object of this kind as its value; ``Sequence[int]`` takes a tuple, too."""
    origins = [Any if option is Any else origin_of(option) or option for option in members(hint)]
    return any(
        origin is Any or origin is kind or (kind is tuple and inspect.isclass(origin) and issubclass(tuple, origin))
        for origin in origins
    )


def item(hint: Hint, value: object) -> Hint | None:
    """Return the type of a container's items if they may be classes and the value is such a container; else None."""
    origin, arguments = origin_of(hint), typing.get_args(hint)
    if not inspect.isclass(origin) or not arguments:
        return None
    if issubclass(origin, Mapping):
        fits, inner = isinstance(value, Mapping) and len(arguments) == 2, arguments[-1]
    else:
        fits, inner = isinstance(value, list) and issubclass(origin, Iterable), arguments[0]
        fits = fits and (len(arguments) == 1 or arguments[1:] == (Ellipsis,))
    return inner if fits and holds_class(inner) else None


def converted(value: Any, options: Sequence[Hint]) -> Any:  # noqa: ANN401  any YAML and what it means
    """Return a value without classes as the first of these types that takes it: 1 as 1.0, or a text as a path.

    Raises:
        TypeError: If none of them takes it.
    """
    # The exact type comes before any conversion: for ``float | int`` a 1 stays whole.
    if type(value) in options or Any in options or object in options:
        return value
    for option in options:
        with contextlib.suppress(TypeError):
            return _converted(value, option)
    raise TypeError


def _converted(value: Any, option: Hint) -> Any:  # noqa: ANN401  any YAML and what it means
    kind, arguments = origin_of(option) or option, typing.get_args(option)
    if kind is typing.Literal:
        return _chosen(value, arguments)
    if not inspect.isclass(kind):  # a type variable, or a form for type checkers: the constructor decides
        return value
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(value, str):
        return _named(value, kind)
    if isinstance(value, list) and issubclass(kind, tuple):
        hints = arguments[:1] * len(value) if arguments[1:] == (Ellipsis,) else arguments or (Any,) * len(value)
        if len(hints) == len(value):
            return tuple(converted(item, members(hint)) for item, hint in zip(value, hints, strict=True))
    elif isinstance(value, list) and issubclass(kind, Iterable) and not issubclass(kind, Mapping | str):
        items = [converted(item, members(arguments[0] if arguments else Any)) for item in value]
        return kind(items) if kind in (set, frozenset) else items
    elif isinstance(value, Mapping) and issubclass(kind, Mapping):
        key_hint, hint = arguments or (Any, Any)
        return {_key(key, key_hint): converted(item, members(hint)) for key, item in value.items()}
    raise TypeError


def _chosen(value: object, choices: Sequence[object]) -> object:
    """Return the choice that equals the value; 1, 1.0 and true are three different values."""
    for choice in choices:
        if choice == value and type(choice) is type(value):
            return choice
    raise TypeError


def _named(text: str, kind: type) -> Any:  # noqa: ANN401  an object of this kind
    """Return the path, the member of an enum or the class that a text names."""
    if issubclass(kind, PurePath):
        return kind(text)
    if issubclass(kind, Enum) and text in kind.__members__:
        return kind[text]
    if issubclass(kind, type):
        with contextlib.suppress(ValueError, ImportError, AttributeError):
            return pkgutil.resolve_name(text)
    raise TypeError


def _key(key: str | int, hint: Hint) -> str | int:
    """Return the key of a mapping; a text becomes a number where one is meant, because keys of JSON are texts."""
    try:
        return int(key) if hint is int else key
    except ValueError as error:
        raise TypeError from error


def makes(target: Callable[..., Any], hint: Hint) -> bool:
    """Whether calling the target gives an object of this type, as far as the target's source says."""
    expected = origin_of(hint) or hint
    if not inspect.isclass(expected) or expected in (Any, object):
        return True
    made = target if inspect.isclass(target) else _returned(target)
    if not inspect.isclass(made):
        return made is Any
    if getattr(expected, "_is_protocol", False):
        # Only names of methods are compared, because a user's class need not repeat the protocol's annotations.
        return all(any(name in vars(base) for base in made.__mro__) for name in _methods(expected))
    return issubclass(made, expected)


def described(hint: Hint) -> str:
    """Return a type as errors name it: ``int or null``, ``list[int]``, ``Module`` for ``nn.Module``."""
    if hint is Any:
        return "any value"
    if len(members(hint)) > 1:
        return " or ".join(described(option) for option in members(hint))
    if hint is type(None):
        return "null"
    if is_factory(hint):
        return "a function or class" if result(hint) is Any else f"a class that makes {described(result(hint))}"
    origin, arguments = origin_of(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + listing(repr(argument) for argument in arguments)
    if inspect.isclass(hint) and issubclass(hint, Enum):
        return "one of " + listing(member.name for member in hint)
    if origin is not None and arguments:
        return (
            f"{described(origin)}[{', '.join('...' if inner is Ellipsis else described(inner) for inner in arguments)}]"
        )
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
