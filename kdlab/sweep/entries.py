"""The ``search`` part of a sweep file, checked entry by entry."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from kdlab.configuration.document import Document, Place
from kdlab.configuration.form_checks import check_keys
from kdlab.errors import listing, suggestion
from kdlab.sweep.space import Distribution, Entry, Scalar, Space

NAME = re.compile(r"[A-Za-z][\w.-]*")
KINDS = ("float", "int", "choices")
ENTRY = ("sets", *KINDS, "log", "step", "when")


def search_space(document: Document) -> Space:
    """Read the search space from the key ``search`` of a sweep file, and check it.

    Raises:
        ConfigurationError: If an entry is not valid. The message is one line that names file, key and line, what was
            possible and what to do.
    """
    written = document.content.get("search")
    if not isinstance(written, Mapping) or not written:
        raise (document / "search").error("a sweep searches something; name at least one entry with sets and a range")
    entries: dict[str, Entry] = {}
    for name, entry in written.items():
        place = document / "search" / name
        if not NAME.fullmatch(str(name)):
            raise place.error(f"{name!r} cannot name an entry; take letters, digits, -, _ and .")
        if not isinstance(entry, Mapping):
            raise place.error(f"expected a mapping such as {{sets: student.alpha, float: [0, 1]}}: {entry!r}")
        check_keys(place, entry, ENTRY, f"the entry {name!r}")
        distribution, stands_for = _distribution(place, entry)
        when = _when(place / "when", entry.get("when") or {}, entries)
        entries[str(name)] = Entry(str(name), _sets(place, entry), distribution, when, stands_for)
    return Space(tuple(entries.values()))


def _sets(place: Place, entry: Mapping[str, Any]) -> tuple[str, ...]:
    sets = entry.get("sets")
    sets = [sets] if isinstance(sets, str) else sets
    if not isinstance(sets, list) or not sets or not all(isinstance(name, str) for name in sets):
        raise place.error("sets names one or several places of the experiment, such as student.temperature")
    return tuple(sets)


def _distribution(place: Place, entry: Mapping[str, Any]) -> tuple[Distribution, dict[Scalar, Any]]:
    kinds = [kind for kind in KINDS if kind in entry]
    if len(kinds) != 1:
        raise place.error(f"an entry has exactly one of {listing(KINDS)}, found {listing(kinds)}")
    if kinds == ["choices"]:
        for key in ("log", "step"):
            if key in entry:
                raise (place / key).error(f"choices have no {key}; leave it out")
        return _choices(place / "choices", entry["choices"])
    return _range(place, entry, kinds[0]), {}


def _range(place: Place, entry: Mapping[str, Any], kind: str) -> Distribution:
    ends_place, whole = place / kind, kind == "int"
    ends, log, step = entry[kind], entry.get("log", False), entry.get("step")
    kinds = int if whole else (int, float)
    if not isinstance(ends, list) or len(ends) != 2 or not all(_is_number(end, kinds) for end in ends):
        raise ends_place.error(f"expected [lowest, highest], two {'whole ' if whole else ''}numbers, got {ends!r}")
    low, high = ends
    if low > high:
        raise ends_place.error(f"the range is empty: {low} is above {high}")
    if not isinstance(log, bool):
        raise (place / "log").error(f"expected true or false, got {log!r}")
    if log and low <= 0:
        raise ends_place.error(f"a logarithmic range starts above 0, got {low}")
    if step is not None and (not _is_number(step, kinds) or step <= 0 or log):
        reason = "log and step exclude each other" if log else f"expected a positive number, got {step!r}"
        raise (place / "step").error(reason)
    if whole:
        return IntDistribution(low, high, log=log, step=step or 1)
    return FloatDistribution(float(low), float(high), log=log, step=step)


def _is_number(value: Any, kind: Any) -> bool:  # noqa: ANN401  any YAML
    # True and False are ints to Python, but no numbers of a sweep.
    return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)


def _choices(place: Place, choices: Any) -> tuple[CategoricalDistribution, dict[Scalar, Any]]:  # noqa: ANN401  any YAML
    """Return the choices, and for each choice that is no plain value what it stands for.

    The file has either a list of values, or a mapping from short names to what they stand for.
    """
    if not isinstance(choices, list | dict) or not choices:
        raise place.error(f"the choices are empty or no list: {choices!r}; name at least one value")
    if isinstance(choices, dict):
        return CategoricalDistribution(list(choices)), dict(choices)
    labels: list[Scalar] = []
    stands_for: dict[Scalar, Any] = {}
    for choice in choices:
        plain = choice is None or isinstance(choice, bool | int | float | str)
        # Optuna stores plain values alone, so a list or a mapping is known by its text.
        label = choice if plain else json.dumps(choice)
        # To Python, 1, 1.0 and True are equal; here they are different choices.
        if any(label == other and type(label) is type(other) for other in labels):
            raise place.error(f"the choice {label!r} stands twice; name each once")
        labels.append(label)
        if not plain:
            stands_for[label] = choice
    return CategoricalDistribution(labels), stands_for


def _when(
    place: Place,
    when: Any,  # noqa: ANN401  any YAML
    before: Mapping[str, Entry],
) -> dict[str, tuple[Scalar, ...]]:
    if not isinstance(when, Mapping):
        raise place.error(f"expected {{entry: value}} or {{entry: [values]}}, got {when!r}")
    conditions: dict[str, tuple[Scalar, ...]] = {}
    for name, condition in when.items():
        entry = before.get(str(name))
        if entry is None:
            near = suggestion(str(name), before)
            raise (place / name).error(f"no entry {name!r} stands above{near}; there is {listing(before)}")
        values = tuple(condition) if isinstance(condition, list) else (condition,)
        for value in values:
            if not entry.takes(value):
                raise (place / name).error(f"{value!r} is no value of {name}; {_possible(entry)}")
        conditions[str(name)] = values
    return conditions


def _possible(entry: Entry) -> str:
    ends = listing(map(str, entry.ends()))
    return f"it has {ends}" if isinstance(entry.distribution, CategoricalDistribution) else f"it lies between {ends}"
