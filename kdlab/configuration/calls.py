"""A checked configuration: plain Python values, with a `Call` in place of each object; nothing is built yet."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from kdlab.configuration.document import Place
from kdlab.errors import first_line, listing

#: Exceptions by which a constructor refuses an argument; any other is a defect and keeps its traceback.
REFUSALS = (ValueError, TypeError, LookupError, OSError, ImportError, RuntimeError, AssertionError, ArithmeticError)

#: Values that the data know about themselves: a parameter of such a name is given the value if the file has none.
NAMES = ("class_names", "feature_names", "preparation", "groups", "sample_names", "sample_targets")
#: Sizes of the data, given in the same way to parameters that accept this type: elsewhere ``inputs`` may be a tensor.
SIZES: dict[str, type] = {
    "classes": int,
    "shape": tuple,
    "inputs": int,
    "channels": int,
    "length": int,
    "vocabulary": int,
}
# Values by the names above. The type is Any because ``preparation`` is an object that only the data module knows.
Names = Mapping[str, Any]
# A number, text, path, enum member or class; a Call; or a list, tuple or dict of such values.
Value = Any


@dataclass(frozen=True)
class Call:
    """A class or function with its checked arguments.

    Args:
        target: the class or function.
        class_path: its full import path.
        arguments: its values by parameter name, defaults included.
        place: where the file names it, for errors.
        positional: how many arguments the caller of the factory gives; None if the object itself is wanted.
        bare: whether it is a dataclass that the file writes without a class path.
        asks: its parameters among ``NAMES`` and ``SIZES`` for which the file has no value, or null.
        needs: those of ``asks`` that have no default.
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
        """Return the object, or a factory that builds a new one for each call.

        Raises:
            ConfigurationError: As ``made``, if the object itself is wanted.
        """
        if self.positional is None:
            return self.made()
        return self.made

    def made(self, *first: Any, **replacements: Any) -> Any:  # noqa: ANN401  an object of the user's class
        """Build a new object and return it.

        Args:
            first: the positional arguments that the factory's caller gives.
            replacements: arguments by name that replace configured ones.

        Raises:
            ConfigurationError: If the constructor refuses its arguments, or needs a value that the data do not have.
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
        """Return the class path and the arguments in JSON's types; for a bare dataclass, the arguments alone.

        Arguments that have no written form are left out.
        """
        arguments = {name: as_json(value) for name, value in self.arguments.items()}
        arguments = {name: value for name, value in arguments.items() if value is not Opaque.VALUE}
        return arguments if self.bare else {"class_path": self.class_path, "init_args": arguments}

    def handed(self, names: Names) -> "Call":
        """Return a copy in which this class, and every class in its arguments, has the data's values that it asks for.

        The copy is for building alone: these values appear in no resolved configuration and in no fingerprint.
        """
        arguments = {name: _each_call(value, lambda call: call.handed(names)) for name, value in self.arguments.items()}
        arguments |= {name: names[name] for name in self.asks if name in names}
        return replace(self, arguments=arguments)


class Opaque(Enum):
    """A placeholder for a default that has no written form, such as an object made in a signature.

    The argument is left out of the call, so that the constructor supplies the default itself.
    """

    VALUE = "opaque"


def built(value: Value) -> Any:  # noqa: ANN401  whatever the file says
    """Return the value with an object, or a factory, in place of each call."""
    return _each_call(value, Call.build)


def as_json(value: Value) -> Any:  # noqa: ANN401  any JSON
    """Return a value in JSON's types, or ``Opaque.VALUE`` if it has no such form."""
    if isinstance(value, Call):
        return value.plain()
    if isinstance(value, Enum):
        return value.name if value is not Opaque.VALUE else value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | set | frozenset):
        # A set of texts has another order in each process, and fingerprints must not differ by that.
        parts = [as_json(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
        return Opaque.VALUE if Opaque.VALUE in parts else parts
    if isinstance(value, Mapping):
        entries = {str(key): as_json(item) for key, item in value.items()}
        return Opaque.VALUE if Opaque.VALUE in entries.values() else entries
    if inspect.isclass(value) or inspect.isfunction(value):
        # A lambda, or a class defined inside a function, has no path by which it could be imported again.
        return f"{value.__module__}.{value.__qualname__}" if "<" not in value.__qualname__ else Opaque.VALUE
    return Opaque.VALUE


def _each_call(value: Value, change: Callable[[Call], Any]) -> Any:  # noqa: ANN401  whatever the change makes
    """Return a copy of the value in which each call is replaced by what ``change`` makes of it."""
    if isinstance(value, Call):
        return change(value)
    if isinstance(value, dict):
        return {key: _each_call(item, change) for key, item in value.items()}
    # Subclasses such as torch.Size are values of their own, not containers of configured ones.
    if type(value) in (list, tuple):
        return type(value)(_each_call(item, change) for item in value)
    return value
