"""The ``objectives`` and ``constraints`` of a sweep file."""

from collections.abc import Mapping
from typing import Any

from kdlab.configuration.document import Document, Place
from kdlab.configuration.expected import check_keys
from kdlab.configuration.experiment import Experiment
from kdlab.errors import listing, suggestion
from kdlab.sweep.measured import PARAMETERS, SECONDS, Constraint, Measured, Objective

OBJECTIVE = ("stage", "metric", "direction")
CONSTRAINT = ("stage", "metric", "at_least", "at_most")
BOUND = ("stage", "metric", "plus")
DIRECTIONS = ("maximize", "minimize")


def objectives(document: Document, experiment: Experiment) -> tuple[Objective, ...]:
    """What is to become large or small.

    Raises:
        ConfigurationError: One line that names file, key and line, what was possible and what to do.
    """
    found = []
    for name, given in _entries(document, "objectives", required=True).items():
        place = document / "objectives" / name
        check_keys(place, given, OBJECTIVE, f"the objective {name!r}")
        direction = given.get("direction")
        if direction not in DIRECTIONS:
            raise place.error(f"direction says what is better; expected {' or '.join(DIRECTIONS)}, got {direction!r}")
        found.append(Objective(str(name), _measured(place, given, experiment), direction == "maximize"))
    return tuple(found)


def constraints(document: Document, experiment: Experiment) -> tuple[Constraint, ...]:
    """What a good trial keeps.

    Raises:
        ConfigurationError: One line that names file, key and line, what was possible and what to do.
    """
    found = []
    for name, given in _entries(document, "constraints", required=False).items():
        place = document / "constraints" / name
        check_keys(place, given, CONSTRAINT, f"the constraint {name!r}")
        sides = [side for side in ("at_least", "at_most") if side in given]
        if len(sides) != 1:
            raise place.error(f"a constraint has one of at_least and at_most, found {listing(sides)}")
        bound, plus = _bound(place / sides[0], given[sides[0]], experiment)
        of = _measured(place, given, experiment)
        found.append(Constraint(str(name), of, bound, plus, sides == ["at_most"]))
    return tuple(found)


def _entries(document: Document, key: str, required: bool) -> Mapping[str, Any]:
    written = document.content.get(key)
    if written is None and not required:
        return {}
    if not isinstance(written, Mapping) or not written:
        form = "{accuracy: {stage: student, metric: val/accuracy, direction: maximize}}"
        raise (document / key).error(f"{key} are a mapping such as {form}, got {written!r}")
    for name, given in written.items():
        if not isinstance(given, Mapping):
            raise (document / key / name).error(f"expected a mapping with a stage and a metric, got {given!r}")
    return written


def _measured(place: Place, given: Mapping[str, Any], experiment: Experiment) -> Measured:
    stage, metric = given.get("stage"), given.get("metric")
    if stage not in experiment.stages:
        raise (place / "stage").error(
            f"there is no stage {stage!r}{suggestion(str(stage), experiment.stages)}; "
            f"{experiment.name} has {listing(experiment.stages)}",
        )
    if not isinstance(metric, str) or not (metric.startswith("val/") or metric in (PARAMETERS, SECONDS)):
        raise (place / "metric").error(
            f"expected a validation metric such as val/accuracy, or {PARAMETERS}, or {SECONDS}, got {metric!r}; "
            "a sweep does not touch the test split",
        )
    return Measured(str(stage), metric)


def _bound(place: Place, bound: Any, experiment: Experiment) -> tuple[float | Measured, float]:  # noqa: ANN401  any YAML
    if isinstance(bound, int | float) and not isinstance(bound, bool):
        return float(bound), 0.0
    if not isinstance(bound, Mapping):
        raise place.error(f"expected a number, or {{stage: teacher, metric: val/accuracy, plus: -0.01}}: {bound!r}")
    check_keys(place, bound, BOUND, "a bound")
    plus = bound.get("plus", 0.0)
    if not isinstance(plus, int | float) or isinstance(plus, bool):
        raise (place / "plus").error(f"expected a number, got {plus!r}")
    return _measured(place, bound, experiment), float(plus)
