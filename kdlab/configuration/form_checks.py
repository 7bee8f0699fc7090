"""What the form of a file expects at a place; each function refuses anything else in one line."""

from collections.abc import Iterable
from typing import Any

from kdlab.configuration.document import Place
from kdlab.errors import listing, suggestion


def count(place: Place, value: Any, least: int) -> int:  # noqa: ANN401  any YAML
    """The value, if it is a whole number that is large enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise place.error(f"expected a whole number of at least {least}, got {value!r}")
    return value


def optional_count(place: Place) -> int | None:
    """A whole number of at least 1, or nothing."""
    return None if place.value is None else count(place, place.value, 1)


def mapping(place: Place) -> dict[str, Any]:
    """The mapping that stands here."""
    if not isinstance(place.value, dict):
        raise place.error(f"expected a mapping, got {place.value!r}")
    return place.value


def optional_mapping(place: Place) -> dict[str, Any]:
    """The mapping that stands here; an empty one where there is nothing."""
    return mapping(place) if place.value else {}


def class_spec(place: Place) -> dict[str, Any]:
    """The class path, with or without arguments, that stands here."""
    if not isinstance(place.value, dict) or "class_path" not in place.value:
        raise place.error(f"expected {{class_path: …, init_args: {{…}}}}, got {place.value!r}")
    return place.value


def check_keys(place: Place, keys: Iterable[Any], possible: Iterable[str], owner: str) -> None:
    """Refuse a key that nobody reads."""
    for key in keys:
        if key not in possible:
            raise (place / key).error(
                f"{owner} has no key {str(key)!r}{suggestion(str(key), possible)}; it has {listing(possible)}"
            )
