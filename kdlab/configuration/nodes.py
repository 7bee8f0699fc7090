"""A checked configuration: each value typed, each class found, nothing built yet."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from kdlab.configuration.document import Document, Keys
from kdlab.errors import first_line

#: What a constructor may raise when it refuses an argument; anything else is a defect and keeps its traceback.
REFUSALS = (ValueError, TypeError, LookupError, OSError, ImportError, RuntimeError, AssertionError, ArithmeticError)

#: What data know about themselves: a constructor that has a parameter of this name, and was given none, is handed it.
NAMES = ("class_names", "feature_names", "preparation")
# Lists of names, and the data module's own kind of preparation, of which a configuration knows nothing.
Names = Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """A plain value: number, text, list of them."""

    value: Any

    def build(self) -> Any:  # noqa: ANN401  whatever the file says
        """The value itself."""
        return self.value

    def plain(self) -> Any:  # noqa: ANN401  any JSON
        """The value as JSON; ``Opaque`` where it has no such form."""
        return as_json(self.value)

    def calls(self) -> Iterator["Call"]:
        """No classes."""
        return iter(())

    def handed(self, names: Names) -> "Value":
        """The same: nobody asks for names."""
        return self


@dataclass(frozen=True)
class Items:
    """A list or tuple that holds classes."""

    items: tuple["Node", ...]
    kind: type = list

    def build(self) -> Any:  # noqa: ANN401  a list or tuple
        """The built items."""
        return self.kind(item.build() for item in self.items)

    def plain(self) -> Any:  # noqa: ANN401  any JSON
        """A list."""
        return [item.plain() for item in self.items]

    def calls(self) -> Iterator["Call"]:
        """All classes below."""
        return (call for item in self.items for call in item.calls())

    def handed(self, names: Names) -> "Items":
        """The same, the data's names in every class below that asks for them."""
        return replace(self, items=tuple(item.handed(names) for item in self.items))


@dataclass(frozen=True)
class Entries:
    """A mapping that holds classes."""

    entries: dict[str, "Node"]

    def build(self) -> Any:  # noqa: ANN401  a mapping
        """The built entries."""
        return {name: entry.build() for name, entry in self.entries.items()}

    def plain(self) -> Any:  # noqa: ANN401  any JSON
        """A mapping."""
        return _without_opaque({name: entry.plain() for name, entry in self.entries.items()})

    def calls(self) -> Iterator["Call"]:
        """All classes below."""
        return (call for entry in self.entries.values() for call in entry.calls())

    def handed(self, names: Names) -> "Entries":
        """The same, the data's names in every class below that asks for them."""
        return Entries({name: entry.handed(names) for name, entry in self.entries.items()})


@dataclass(frozen=True)
class Call:
    """A class (or function) with its checked arguments.

    ``positional`` counts the arguments that are given later, by the one who calls the factory; None means that the
    object itself is wanted. A ``bare`` call is a dataclass written without its class path. ``asks`` are the parameters
    among ``NAMES`` for which the file has nothing, or null.
    """

    target: Callable[..., Any]
    class_path: str
    arguments: dict[str, "Node"]
    document: Document
    keys: Keys
    positional: int | None = None
    bare: bool = False
    asks: tuple[str, ...] = ()

    def build(self) -> Any:  # noqa: ANN401  an object of the user's class
        """The object, or a factory that builds a new one for each call."""
        if self.positional is None:
            return self.made()
        return self.made

    def made(self, *first: Any, **given: Any) -> Any:  # noqa: ANN401  an object of the user's class
        """The object, with these arguments put in place of configured ones.

        Raises:
            ConfigurationError: If the constructor refuses its arguments.
        """
        arguments = {name: node.build() for name, node in self.arguments.items() if name not in given}
        try:
            return self.target(*first, **arguments, **given)
        except REFUSALS as error:
            name = self.class_path.rsplit(".", 1)[-1]
            raise self.document.error(self.keys, f"{name} refuses its arguments: {first_line(error)}") from error

    def plain(self) -> Any:  # noqa: ANN401  any JSON
        """Class path and arguments; the arguments alone for a bare dataclass."""
        arguments = _without_opaque({name: node.plain() for name, node in self.arguments.items()})
        return arguments if self.bare else {"class_path": self.class_path, "init_args": arguments}

    def calls(self) -> Iterator["Call"]:
        """This class and all below."""
        yield self
        for node in self.arguments.values():
            yield from node.calls()

    def handed(self, names: Names) -> "Call":
        """The same, the data's names in this class and in every one below that asks for them.

        It is for building alone: names that were handed stand in no resolved configuration and in no fingerprint.
        """
        arguments: dict[str, Node] = {name: node.handed(names) for name, node in self.arguments.items()}
        arguments |= {name: Value(names[name]) for name in self.asks if name in names}
        return replace(self, arguments=arguments)


Node = Value | Items | Entries | Call


class Opaque(Enum):
    """Stands for a default that has no written form (an object made in a signature); the constructor supplies it."""

    VALUE = "opaque"


def as_json(value: Any) -> Any:  # noqa: ANN401  any value of a constructor's argument
    """A value of constructors' types in JSON's types, or ``Opaque``."""
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


def _without_opaque(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if value is not Opaque.VALUE}
