"""Checks of a single place in a file: each returns what the file's form expects there, or refuses it in one line."""

from collections.abc import Iterable
from typing import Any

from kdlab.configuration.document import Place
from kdlab.errors import listing, suggestion


def count(place: Place, value: Any, least: int) -> int:  # noqa: ANN401  any YAML
    """Return the value.

    Raises:
        ConfigurationError: If it is not a whole number of at least ``least``.
    """
    # In Python true is a whole number too.
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise place.error(f"expected a whole number of at least {least}, got {value!r}")
    return value


def optional_count(place: Place) -> int | None:
    """Return the whole number at this place; None if there is nothing.

    Raises:
        ConfigurationError: If it is anything but a whole number of at least 1.
    """
    return None if place.value is None else count(place, place.value, 1)


def mapping(place: Place) -> dict[str, Any]:
    """Return the mapping at this place.

    Raises:
        ConfigurationError: If there is anything else, or nothing.
    """
    if not isinstance(place.value, dict):
        raise place.error(f"expected a mapping, got {place.value!r}")
    return place.value


def optional_mapping(place: Place) -> dict[str, Any]:
    """Return the mapping at this place; an empty one if there is nothing.

    Raises:
        ConfigurationError: If there is anything else.
    """
    return {} if place.value is None else mapping(place)


def class_spec(place: Place) -> dict[str, Any]:
    """Return the mapping at this place, which has a class path and may have arguments.

    Raises:
        ConfigurationError: If there is anything else, or nothing.
    """
    if not isinstance(place.value, dict) or "class_path" not in place.value:
        raise place.error(f"expected {{class_path: …, init_args: {{…}}}}, got {place.value!r}")
    return place.value


def check_keys(place: Place, keys: Iterable[Any], possible: Iterable[str], owner: str) -> None:
    """Refuse a key that nobody reads.

    Args:
        place: where the keys are.
        keys: those that the file has.
        possible: those that are read.
        owner: whose keys they are, for the error.

    Raises:
        ConfigurationError: If a key is not among the possible ones.
    """
    for key in keys:
        if key not in possible:
            raise (place / key).error(
                f"{owner} has no key {str(key)!r}{suggestion(str(key), possible)}; it has {listing(possible)}"
            )
