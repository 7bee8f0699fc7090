"""Check a value of the file against a constructor's type, down to the last nested class, without building anything."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from kdlab.configuration import type_hints
from kdlab.configuration.calls import NAMES, SIZES, Call, Opaque, Value, as_json
from kdlab.configuration.classes import find, full_path, public_path
from kdlab.configuration.document import Place
from kdlab.configuration.signatures import Parameter, Signature, signature_of
from kdlab.configuration.type_hints import Hint
from kdlab.errors import listing, suggestion

# What a file says may be any YAML.
Written = Any

SPEC = ("class_path", "init_args")


def check(value: Written, hint: Hint, place: Place) -> Value:
    """The value as this type means it, a call for each class in it.

    Raises:
        ConfigurationError: If the value or anything in it is not of its type, or names a class that is not there.
    """
    options = type_hints.members(hint)
    if value is None and type(None) in options:
        return None
    classes = [option for option in options if not type_hints.is_plain(option)]
    is_name = isinstance(value, str) and bool(classes) and not type_hints.takes_text(hint)
    if is_name or (isinstance(value, Mapping) and "class_path" in value and (classes or Any in options)):
        return check_class(value, classes, place)
    for option in options:
        if inspect.isclass(option) and is_dataclass(option) and isinstance(value, Mapping):
            return _call(option, value, place, place, bare=True)
        item = type_hints.item(option, value)
        if item is not None:
            items = _items(value, item, place)
            return tuple(items) if type_hints.origin_of(option) is tuple else items
    if Any in options and isinstance(value, Mapping | list):
        return _items(value, Any, place)
    try:
        return type_hints.converted(value, [option for option in options if type_hints.is_plain(option)])
    except TypeError as error:
        form = "" if not classes else "; a class is written {class_path: …, init_args: {…}}"
        raise place.error(f"expected {type_hints.described(hint)}, got {_shortened(value)}{form}") from error


def check_class(value: Written, types: Sequence[Hint], place: Place, leave_out: Sequence[str] = ()) -> Call:
    """A class path with its arguments, for a place that takes one of these types.

    Arguments in ``leave_out`` are given by whoever builds the object.

    Raises:
        ConfigurationError: If there is no such class, it is of another kind, or an argument does not fit.
    """
    spec: Mapping[str, Any] = {"class_path": value} if isinstance(value, str) else value
    for key in spec:
        if key not in SPEC:
            raise (place / key).error(
                f"unknown key {str(key)!r}{suggestion(str(key), SPEC)} beside class_path; arguments stand in init_args",
            )
    class_path = full_path(spec["class_path"], place / "class_path")
    target = find(class_path, place / "class_path")
    for option in types or [Any]:
        later = type_hints.positional(option) if type_hints.is_factory(option) else None
        if type_hints.makes(target, option if later is None else type_hints.result(option)):
            values = {} if spec.get("init_args") is None else spec["init_args"]
            return _call(target, values, place, place / "init_args", later, leave_out)
    raise (place / "class_path").error(f"{class_path!r} is not {listing(map(type_hints.described, types))}")


def check_arguments(signature: Signature, values: Written, name: str, place: Place) -> dict[str, Value]:
    """The arguments of a call, defaults filled in; names that the data may hand to it need not be given.

    Raises:
        ConfigurationError: If one is unknown, missing or not of its type.
    """
    if not isinstance(values, Mapping):
        raise place.error(f"expected the arguments of {name} as a mapping, got {_shortened(values)}")
    parameters = signature.parameters
    for key in values:
        if key not in parameters and not signature.open:
            possible = f"it has {listing(parameters)}" if parameters else "it has none"
            raise (place / key).error(
                f"{name} has no argument {str(key)!r}{suggestion(str(key), parameters)}; {possible}"
            )
    arguments: dict[str, Value] = {}
    for parameter in parameters.values():
        if parameter.name in values:
            value, hint = values[parameter.name], parameter.type
            is_default = value is None and parameter.default is None
            arguments[parameter.name] = None if is_default else check(value, hint, place / parameter.name)
        elif not parameter.required:
            arguments[parameter.name] = _default(parameter, place / parameter.name)
        elif not _may_be_handed(parameter):
            described = f"{parameter.name!r} ({type_hints.described(parameter.type)})"
            raise place.error(f"{name} needs {described}; it takes {listing(parameters)}")
    for key, value in values.items():
        if key not in parameters:
            arguments[key] = check(value, Any, place / key)
    return {key: value for key, value in arguments.items() if value is not Opaque.VALUE}


def _call(
    target: Callable[..., Any],
    values: Written,
    place: Place,
    arguments_place: Place,
    later: int | None = None,
    leave_out: Sequence[str] = (),
    bare: bool = False,
) -> Call:
    """A call of the target; its first arguments are given later where it is a factory."""
    signature = signature_of(target).without_first(later or 0).without(leave_out)
    arguments = check_arguments(signature, values, target.__name__, arguments_place)
    asks = [p for p in signature.parameters.values() if arguments.get(p.name) is None and _may_be_handed(p)]
    return Call(
        target,
        public_path(target),
        arguments,
        place,
        later,
        bare,
        asks=tuple(parameter.name for parameter in asks),
        needs=tuple(parameter.name for parameter in asks if parameter.required),
    )


def _may_be_handed(parameter: Parameter) -> bool:
    """Whether the data hand a value to it where the file has none: by its name, and for a size by its type too."""
    if parameter.name not in SIZES:
        return parameter.name in NAMES
    if not parameter.required and parameter.default is not None:
        return False  # it has a value of its own
    return type_hints.takes(parameter.type, SIZES[parameter.name])


def _items(value: Written, item: Hint, place: Place) -> dict[str, Value] | list[Value]:
    if isinstance(value, Mapping):
        return {key: check(entry, item, place / key) for key, entry in value.items()}
    return [check(entry, item, place / position) for position, entry in enumerate(value)]


def _shortened(value: Written) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) < 120 else f"{text[:117]}..."


def _default(parameter: Parameter, place: Place) -> Value:
    """The default where it can be written in a file; ``Opaque`` leaves it to the constructor."""
    default = parameter.default
    options = type_hints.members(parameter.type)
    factory = next((option for option in options if type_hints.is_factory(option)), None)
    if factory is not None and inspect.isclass(default):
        target: Callable[..., Any] = default
        later = type_hints.positional(factory)
        if not any(other.required for other in signature_of(target).without_first(later).parameters.values()):
            return _call(target, {}, place, place, later)
    if type(default) is int and float in options and int not in options:
        return float(default)  # as the same number is read from a file
    return Opaque.VALUE if as_json(default) is Opaque.VALUE else default
