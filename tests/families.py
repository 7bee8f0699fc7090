"""The classes of a family that a test can build without being told of them: a new file is tested at once."""

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

from kdlab.commands.class_kinds import classes_of_package
from kdlab.configuration.signatures import signature_of

Build = Callable[..., Any]


def buildable(family: str, **arguments: object) -> dict[type, Build]:
    """Return the classes of a family that these arguments and their own defaults suffice for, ready to be called.

    A class takes the arguments that its constructor requires. One that requires others stands in its own test
    file instead: ``tests/FAMILY/…/test_FILE.py`` holds ``CASE``, a callable that builds it.
    """
    builds: dict[type, Build] = {}
    for name, target in classes_of_package(family):
        required = [parameter.name for parameter in signature_of(target).parameters.values() if parameter.required]
        if set(required) <= arguments.keys():
            build = partial(target, **{key: arguments[key] for key in required})
            build.__name__ = name  # type: ignore[attr-defined]  # pytest names the case after it
            builds[target] = build
        elif (case := own_case(target)) is not None:
            builds[target] = case
    return builds


def own_case(target: type) -> Build | None:
    """Return ``CASE`` of the test file that mirrors the class's own file, if there is one."""
    _, *folders, file = target.__module__.split(".")
    path = ".".join(["tests", *folders, f"test_{file}"])
    if importlib.util.find_spec(".".join(["tests", *folders])) is None or importlib.util.find_spec(path) is None:
        return None
    case: Build | None = getattr(importlib.import_module(path), "CASE", None)
    return case
