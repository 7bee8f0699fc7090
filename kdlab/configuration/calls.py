"""A checked configuration: plain Python values, in which a `Call` stands for each class; nothing is built yet."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from kdlab.configuration.document import Place
from kdlab.errors import first_line, listing

#: What a constructor may raise when it refuses an argument; anything else is a defect and keeps its traceback.
REFUSALS = (ValueError, TypeError, LookupError, OSError, ImportError, RuntimeError, AssertionError, ArithmeticError)

#: What data know about themselves: a constructor that has a parameter of this name without a value is handed it.
NAMES = ("class_names", "feature_names", "preparation", "groups", "sample_names", "sample_targets")
#: The same of their sizes, for parameters that take such a value: elsewhere ``inputs`` may mean a tensor.
SIZES: dict[str, type] = {
    "classes": int,
    "shape": tuple,
    "inputs": int,
    "channels": int,
    "length": int,
    "vocabulary": int,
}
# Lists of names, and the data module's own kind of preparation, of which a configuration knows nothing.
Names = Mapping[str, Any]
# A number, text, path, enum member or class; a Call; or a list, tuple or dict of such values.
Value = Any


@dataclass(frozen=True)
class Call:
    """A class (or function) with its checked arguments.

    ``positional`` counts the arguments that are given later, by the one who calls the factory; None means that the
    object itself is meant. A ``bare`` call is a dataclass written without its class path. ``asks`` are the parameters
    among ``NAMES`` and ``SIZES`` for which the file has nothing, or null; of them ``needs`` have no default.
    """

    target: Callable[..., Any]
    class_path: str
    arguments: dict[str, Value]
    place: Place
    positional: int | None = None
    bare: bool = False
    asks: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def build(self) -> Any:  # noqa: ANN401  an object of the user's class
        """The object, or a factory that builds a new one for each call."""
        if self.positional is None:
            return self.made()
        return self.made

    def made(self, *first: Any, **replacements: Any) -> Any:  # noqa: ANN401  an object of the user's class
        """The object, with these arguments put in place of configured ones.

        Raises:
            ConfigurationError: If the constructor refuses its arguments, or needs what the data do not know.
        """
        arguments = {name: built(value) for name, value in self.arguments.items() if name not in replacements}
        name = self.class_path.rsplit(".", 1)[-1]
        unknown = [needed for needed in self.needs if needed not in arguments and needed not in replacements]
        if unknown:
            raise self.place.error(
                f"{name} needs {listing(unknown)}, which the data do not say of themselves; write it into init_args"
            )
        try:
            return self.target(*first, **arguments, **replacements)
        except REFUSALS as error:
            raise self.place.error(f"{name} refuses its arguments: {first_line(error)}") from error

    def plain(self) -> dict[str, Any]:
        """Class path and arguments as JSON; the arguments alone for a bare dataclass."""
        arguments = {name: as_json(value) for name, value in self.arguments.items()}
        arguments = {name: value for name, value in arguments.items() if value is not Opaque.VALUE}
        return arguments if self.bare else {"class_path": self.class_path, "init_args": arguments}

    def handed(self, names: Names) -> "Call":
        """The same, the data's names in this class and in every one below that asks for them.

        It is for building alone: names that were handed stand in no resolved configuration and in no fingerprint.
        """
        arguments = {name: _each_call(value, lambda call: call.handed(names)) for name, value in self.arguments.items()}
        arguments |= {name: names[name] for name in self.asks if name in names}
        return replace(self, arguments=arguments)


class Opaque(Enum):
    """Stands for a default that has no written form (an object made in a signature); the constructor supplies it."""

    VALUE = "opaque"


def built(value: Value) -> Any:  # noqa: ANN401  whatever the file says
    """The value with an object, or a factory, in place of each call."""
    return _each_call(value, Call.build)


def as_json(value: Value) -> Any:  # noqa: ANN401  any JSON
    """A value in JSON's types, or ``Opaque`` where it has no such form."""
    if isinstance(value, Call):
        return value.plain()
    if isinstance(value, Enum):
        return value.name if value is not Opaque.VALUE else value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        parts = [as_json(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
        return Opaque.VALUE if Opaque.VALUE in parts else parts
    if isinstance(value, Mapping):
        entries = {str(key): as_json(item) for key, item in value.items()}
        return Opaque.VALUE if Opaque.VALUE in entries.values() else entries
    if inspect.isclass(value) or inspect.isfunction(value):
        return f"{value.__module__}.{value.__qualname__}" if "<" not in value.__qualname__ else Opaque.VALUE
    return Opaque.VALUE


def _each_call(value: Value, change: Callable[[Call], Any]) -> Any:  # noqa: ANN401  whatever the change makes
    """A copy of the value with what the change makes of each call in it."""
    if isinstance(value, Call):
        return change(value)
    if isinstance(value, dict):
        return {key: _each_call(item, change) for key, item in value.items()}
    # Subclasses such as torch.Size are values of their own, not containers of configured ones.
    if type(value) in (list, tuple):
        return type(value)(_each_call(item, change) for item in value)
    return value
