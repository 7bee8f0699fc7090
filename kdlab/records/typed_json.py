"""Dataclasses as JSON objects, and back where every field is what it should be."""

import types
from dataclasses import MISSING, fields
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


def from_json(kind: type[Kind], content: object) -> Kind | None:
    """Return the dataclass that a JSON object holds.

    None where it is no object, a field without a default is missing, or one is of another type: a damaged file, or one
    of another kdlab. What is inside lists and dictionaries is not looked at, and further keys are left out.
    """
    if not isinstance(content, dict):
        return None
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # the caller's type is a dataclass
        if field.name in content:
            if not _fits(content[field.name], hints[field.name]):
                return None
            values[field.name] = content[field.name]
        elif field.default is MISSING and field.default_factory is MISSING:
            return None
    return kind(**values)


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401  a type hint
    if hint is Any:
        return True
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    expected = get_origin(hint) or hint
    if isinstance(value, bool) or expected is bool:
        return isinstance(value, bool) and expected is bool
    return isinstance(value, int | float if expected is float else expected)
