"""Check a value of the file against a constructor's type, down to the last nested class, without building anything."""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from kdlab.configuration import hints
from kdlab.configuration.classes import find, full_path, public_path
from kdlab.configuration.document import Document, Keys
from kdlab.configuration.hints import Hint
from kdlab.configuration.nodes import NAMES, Call, Entries, Items, Node, Opaque, Value, as_json
from kdlab.configuration.signatures import Parameter, Signature, signature_of
from kdlab.errors import listing, suggestion

# What a file says may be any YAML.
Written = Any

SPEC = ("class_path", "init_args")


def check(value: Written, hint: Hint, document: Document, keys: Keys) -> Node:
    """The value as a node of this type.

    Raises:
        ConfigurationError: If the value or anything in it is not of its type, or names a class that is not there.
    """
    options = hints.members(hint)
    if value is None and type(None) in options:
        return Value(None)
    classes = [option for option in options if not hints.is_plain(option)]
    named = isinstance(value, str) and bool(classes) and not hints.takes_text(hint)
    if named or (isinstance(value, Mapping) and "class_path" in value and (classes or Any in options)):
        return check_class(value, classes, document, keys)
    for option in options:
        if inspect.isclass(option) and is_dataclass(option) and isinstance(value, Mapping):
            return Call(
                option, public_path(option), _arguments(option, value, document, keys), document, keys, bare=True
            )
        inner = hints.item(option, value)
        if inner is not None:
            return _container(value, inner, hints.origin_of(option) is tuple, document, keys)
    if Any in options and isinstance(value, Mapping | list):
        return _container(value, Any, False, document, keys)
    return _plain(value, hint, document, keys)


def check_class(
    value: Written, wanted: Sequence[Hint], document: Document, keys: Keys, leave_out: Sequence[str] = ()
) -> Call:
    """A class path with its arguments, for a place that takes one of these types.

    Arguments in ``leave_out`` are given by whoever builds the object.

    Raises:
        ConfigurationError: If there is no such class, it is of another kind, or an argument does not fit.
    """
    spec: Mapping[str, Any] = {"class_path": value} if isinstance(value, str) else value
    for key in spec:
        if key not in SPEC:
            raise document.error(
                (*keys, str(key)),
                f"unknown key {str(key)!r}{suggestion(str(key), SPEC)} beside class_path; arguments stand in init_args",
            )
    class_path = full_path(spec["class_path"], document, (*keys, "class_path"))
    target = find(class_path, document, (*keys, "class_path"))
    for option in wanted or [Any]:
        later = hints.positional(option) if hints.is_factory(option) else None
        if hints.makes(target, option if later is None else hints.result(option)):
            inner, values = (*keys, "init_args"), spec.get("init_args")
            arguments = _arguments(target, {} if values is None else values, document, inner, later or 0, leave_out)
            return Call(target, public_path(target), arguments, document, keys, later, asks=_asks(target, arguments))
    raise document.error((*keys, "class_path"), f"{class_path!r} is not {listing(map(hints.said, wanted))}")


def check_arguments(
    signature: Signature, values: Written, name: str, document: Document, keys: Keys
) -> dict[str, Node]:
    """The arguments of a call, defaults filled in; names that the data may hand to it need not be given.

    Raises:
        ConfigurationError: If one is unknown, missing or not of its type.
    """
    if not isinstance(values, Mapping):
        raise document.error(keys, f"expected the arguments of {name} as a mapping, got {_shown(values)}")
    known = signature.parameters
    for key in values:
        if key not in known and not signature.open:
            there = f"it has {listing(known)}" if known else "it has none"
            raise document.error(
                (*keys, str(key)), f"{name} has no argument {str(key)!r}{suggestion(str(key), known)}; {there}"
            )
    nodes: dict[str, Node] = {}
    for parameter in known.values():
        place = (*keys, parameter.name)
        if parameter.name in values:
            value = values[parameter.name]
            absent = value is None and parameter.default is None
            nodes[parameter.name] = Value(None) if absent else check(value, parameter.type, document, place)
        elif parameter.name in NAMES and parameter.required:
            continue
        elif parameter.required:
            raise document.error(
                keys, f"{name} needs {parameter.name!r} ({hints.said(parameter.type)}); it takes {listing(known)}"
            )
        else:
            default = _default(parameter, document, place)
            nodes |= {} if default is None else {parameter.name: default}
    further = {key: check(value, Any, document, (*keys, str(key))) for key, value in values.items() if key not in known}
    return {**nodes, **further}


def _arguments(
    target: Callable[..., Any],
    values: Written,
    document: Document,
    keys: Keys,
    later: int = 0,
    leave_out: Sequence[str] = (),
) -> dict[str, Node]:
    signature = signature_of(target).without_first(later).without(leave_out)
    return check_arguments(signature, values, target.__name__, document, keys)


def _asks(target: Callable[..., Any], arguments: Mapping[str, Node]) -> tuple[str, ...]:
    """The names of classes and features that the constructor takes and that stand nowhere."""
    taken = signature_of(target).parameters
    return tuple(name for name in NAMES if name in taken and arguments.get(name, Value(None)) == Value(None))


def _container(value: Written, inner: Hint, is_tuple: bool, document: Document, keys: Keys) -> Node:
    if isinstance(value, Mapping):
        return Entries({key: check(item, inner, document, (*keys, str(key))) for key, item in value.items()})
    items = tuple(check(item, inner, document, (*keys, str(n))) for n, item in enumerate(value))
    return Items(items, tuple if is_tuple else list)


def _plain(value: Written, hint: Hint, document: Document, keys: Keys) -> Value:
    """A value without classes, as jsonargparse reads it for this type."""
    options = hints.members(hint)
    if Any in options:
        return Value(value)
    plain = [option for option in options if hints.is_plain(option)]
    if type(value) in plain:
        return Value(value)
    # jsonargparse lets null pass for every type.
    if plain and value is not None:
        try:
            return Value(_parser(functools.reduce(operator.or_, plain)).parse_object({"value": value}).value)
        except ArgumentError as error:
            raise document.error(keys, f"expected {hints.said(hint)}, got {_shown(value)}") from error
    form = "; a class is written {class_path: …, init_args: {…}}" if len(plain) < len(options) else ""
    raise document.error(keys, f"expected {hints.said(hint)}, got {_shown(value)}{form}")


def _shown(value: Written) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) < 120 else f"{text[:117]}..."


@functools.lru_cache(maxsize=256)
def _parser(hint: Hint) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    try:
        parser.add_argument("--value", type=hint)
    except ValueError:  # a type that cannot be read from a file, such as a type variable: the constructor decides
        parser.add_argument("--value", type=Any)
    return parser


def _default(parameter: Parameter, document: Document, keys: Keys) -> Node | None:
    """The default as a node where it can be written in a file; None leaves it to the constructor."""
    factories = [option for option in hints.members(parameter.type) if hints.is_factory(option)]
    default = parameter.default
    if factories and inspect.isclass(default):
        target: Callable[..., Any] = default
        later = hints.positional(factories[0])
        if not any(further.required for further in signature_of(target).without_first(later).parameters.values()):
            arguments = _arguments(target, {}, document, keys, later)
            return Call(target, public_path(target), arguments, document, keys, later, asks=_asks(target, arguments))
    if type(default) is int and float in (options := hints.members(parameter.type)) and int not in options:
        default = float(default)  # as the same number is read from a file
    return None if as_json(default) is Opaque.VALUE else Value(default)
