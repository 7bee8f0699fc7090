"""What the form of an experiment file expects at a place; each refuses anything else in one line."""

from collections.abc import Iterable, Mapping
from typing import Any

from kdlab.configuration.document import Document, Keys
from kdlab.errors import listing, suggestion


def count(document: Document, keys: Keys, value: Any, least: int) -> int:  # noqa: ANN401  any YAML
    """The value, if it is a whole number that is large enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise document.error(keys, f"expected a whole number of at least {least}, got {value!r}")
    return value


def mapping(document: Document, keys: Keys, value: Any) -> dict[str, Any]:  # noqa: ANN401  any YAML
    """The value, if it is a mapping."""
    if not isinstance(value, dict):
        raise document.error(keys, f"expected a mapping, got {value!r}")
    return value


def a_class(document: Document, keys: Keys, value: Any) -> None:  # noqa: ANN401  any YAML
    """Refuse what does not name a class."""
    if not isinstance(value, dict) or "class_path" not in value:
        raise document.error(keys, f"expected {{class_path: …, init_args: {{…}}}}, got {value!r}")


def known_keys(document: Document, keys: Keys, value: Mapping[str, Any], possible: Iterable[str], what: str) -> None:
    """Refuse a key that nobody reads."""
    for key in value:
        if key not in possible:
            raise document.error(
                (*keys, str(key)),
                f"{what} has no key {str(key)!r}{suggestion(str(key), possible)}; it has {listing(possible)}",
            )
