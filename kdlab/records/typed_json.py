"""Reading dataclasses from JSON objects, with a check of each field's type."""

import types
from dataclasses import MISSING, fields
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Kind = TypeVar("Kind")


def from_json(kind: type[Kind], content: object) -> Kind | None:
    """Return a dataclass from a JSON object, or None if the object does not fit it.

    It does not fit if it is no object, if a field without a default is missing, or if a field has another type, as in a
    damaged file or one of another kdlab version. The contents of lists and dictionaries are not checked, and unknown
    keys are ignored.
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
    # A bool is an int to Python, and must not pass for a number.
    if isinstance(value, bool) or expected is bool:
        return isinstance(value, bool) and expected is bool
    return isinstance(value, int | float if expected is float else expected)
