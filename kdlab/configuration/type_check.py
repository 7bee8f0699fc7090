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
    """Return the value as this type means it, with a call in place of each class.

    Args:
        value: any YAML.
        hint: the type that the constructor asks for.
        place: where the value is, for errors.

    Raises:
        ConfigurationError: If the value or a part of it is not of its type, or if it names a class that does not exist.
    """
    options = type_hints.members(hint)
    if value is None and type(None) in options:
        return None
    classes = [option for option in options if not type_hints.is_plain(option)]
    # A text is the name of a class only where the type takes no text as it is.
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
    """Return the call of a class path with its arguments, for a place that takes one of these types.

    Args:
        value: a class path, or a mapping with ``class_path`` and perhaps ``init_args``.
        types: the types that fit; without any, every class fits.
        place: where the value is, for errors.
        leave_out: arguments that whoever builds the object gives.

    Raises:
        ConfigurationError: If there is no such class, if it is of another kind, or if an argument does not fit.
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
    """Return the arguments of a call, with defaults filled in.

    Arguments that the data may supply need not be given.

    Args:
        signature: the parameters.
        values: what the file says, which must be a mapping.
        name: the name of the class or function, for errors.
        place: where the values are, for errors.

    Raises:
        ConfigurationError: If an argument is unknown, missing or not of its type.
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
            # A default of null may be written out, also where the type does not allow null.
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
    """Return a call of the target; ``later`` of its first arguments are given by whoever calls the factory."""
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
    """Whether the data supply a value if the file has none: the name decides, and for a size the type too."""
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
    """Return the default if it can be written in a file; ``Opaque.VALUE`` leaves it to the constructor."""
    default = parameter.default
    options = type_hints.members(parameter.type)
    factory = next((option for option in options if type_hints.is_factory(option)), None)
    if factory is not None and inspect.isclass(default):
        # A class as default becomes a call, because an override may set its arguments.
        target: Callable[..., Any] = default
        later = type_hints.positional(factory)
        if not any(other.required for other in signature_of(target).without_first(later).parameters.values()):
            return _call(target, {}, place, place, later)
    if type(default) is int and float in options and int not in options:
        return float(default)  # so that the default written out in a file has the same fingerprint
    return Opaque.VALUE if as_json(default) is Opaque.VALUE else default
