"""Overrides such as ``student.alpha=0.3``: from a short dotted name to the one place in the file that it means."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlab.configuration.document import LEVELS, Document, Keys, parse_value, short
from kdlab.configuration.outline import TOP, Outline
from kdlab.errors import ConfigurationError, listing, nearest

#: Settings that are changed most: an override that names one alone is told to put a stage's name before it.
EVERYDAY = ("alpha", "beta", "temperature", "task_weight", "explain_weight")
#: The path of a temperature below its stage; ``STAGE.temperature`` means it if only one term has a temperature.
TEMPERATURE = ("module", "init_args", "distill", "*", "loss", "init_args", "temperature")


@dataclass(frozen=True)
class Override:
    """One ``name=value``.

    Args:
        tokens: the words of the name, which dots separate.
        value: the value, read as YAML.
        origin: how an error names the override.
    """

    tokens: Keys
    value: Any
    origin: str

    @property
    def name(self) -> str:
        """The name as it was written."""
        return ".".join(self.tokens)

    def target(self, places: Mapping[Keys, Any]) -> tuple[Keys, Any]:
        """Return the keys that the override sets, and the value that they are set to.

        Args:
            places: every place of the experiment that may be set, with its value.

        Raises:
            ConfigurationError: If the name means no place or several.
        """
        if self.tokens in (("seed",), ("seeds",)):
            return ("seeds",), [self.value] if self.tokens == ("seed",) else self.value
        keys = self.keys(places)
        if keys[-1] == "class_path":
            # Another class has other arguments, so those of the old class are dropped.
            return keys[:-1], {"class_path": self.value}
        is_class = isinstance(places[keys], Mapping) and "class_path" in places[keys]
        return keys, {"class_path": self.value} if is_class and isinstance(self.value, str) else self.value

    def keys(self, places: Mapping[Keys, Any]) -> Keys:
        """Return the one place that the name means.

        A name means a stage's temperature, or else a place with exactly this name, or else one whose path contains its
        words.

        Args:
            places: every place of the experiment that may be set, with its value.

        Raises:
            ConfigurationError: If the name means no place or several.
        """
        tokens = self.tokens
        starting = [keys for keys in places if _without(keys, ("stages",))[:1] == tokens[:1]]
        temperatures = [keys for keys in starting if _is_temperature(keys)]
        aliases = {f"{tokens[0]}.temperature": temperatures[0]} if len(temperatures) == 1 else {}
        if self.name in aliases:
            return aliases[self.name]
        written = _without(tokens, LEVELS)
        fitting = [keys for keys in starting if keys[-1] == tokens[-1] and _is_part(tokens, keys)]
        exact = [keys for keys in fitting if _without(keys, LEVELS) == written]
        # Names of parameters leave out a term's level ``loss``, so overrides may leave it out too.
        without_loss = [keys for keys in fitting if _without(keys, (*LEVELS, "loss")) == _without(written, ("loss",))]
        meanings = exact or without_loss or fitting
        if len(meanings) == 1:
            return meanings[0]
        if meanings:
            several = listing(short(keys) for keys in meanings)
            raise ConfigurationError(f"{self.origin}: {self.name!r} means several: {several}; write one of them")
        names = {short(keys): keys for keys in starting if keys[-1] not in LEVELS}
        near = [name for name, keys in names.items() if keys[-1] == tokens[-1]]
        near = near or _alike(self.name, [*aliases, *names])
        hint = f"did you mean {' or '.join(near[:3])}?" if near else f"there is {listing(names)}"
        raise ConfigurationError(f"{self.origin}: {self.name!r} names nothing in this experiment; {hint}")


def parse(text: str) -> Override:
    """Split ``name=value`` of the command line.

    Raises:
        ConfigurationError: If there is no name or no ``=``, or if the value is no YAML.
    """
    name, equals, value = text.partition("=")
    origin = f"--set {text}"
    tokens = tuple(name.strip().split("."))
    if not equals or not all(tokens):
        raise ConfigurationError(f"{origin}: expected name=value, such as student.alpha=0.3")
    return Override(tokens, parse_value(value, origin), origin)


def quick(document: Document) -> list[Override]:
    """Return the overrides that the file itself has under its key ``quick``."""
    return [
        Override(
            tuple(str(name).split(".")), value, f"{document.places.get(('quick', str(name)), document.path)}: quick"
        )
        for name, value in (document.content.get("quick") or {}).items()
    ]


def check_first(override: Override, outlined: Outline) -> None:
    """Refuse a name whose first word is neither a stage nor a top-level key, by the file's form alone.

    Raises:
        ConfigurationError: If the first word is neither.
    """
    first = override.tokens[0]
    starts = [*outlined.stages, *(key for key in TOP if key not in ("stages", "quick")), "seed"]
    if first in ("stages", "quick"):
        raise ConfigurationError(f"{override.origin}: start with a stage's name; there is {listing(outlined.stages)}")
    if first not in starts:
        near = [".".join((name, *override.tokens[1:])) for name in nearest(first, starts)]
        if first in EVERYDAY and len(override.tokens) == 1:
            near = [f"{name}.{first}" for name in outlined.stages]
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ConfigurationError(
            f"{override.origin}: {first!r} is neither a stage nor a top-level key{hint}; there is {listing(starts)}"
        )


def _alike(name: str, names: Sequence[str]) -> list[str]:
    """Return the names that look most like this one, best first."""

    def ratio(first: str, second: str) -> float:
        return difflib.SequenceMatcher(None, first.lower(), second.lower()).ratio()

    # The last word counts twice, because it names the setting itself and the others only where it is.
    last = name.rpartition(".")[2]
    scores = {other: (ratio(name, other) + 2 * ratio(last, other.rpartition(".")[2])) / 3 for other in names}
    best = max(scores.values(), default=0.0)
    return [other for other in sorted(names, key=lambda other: -scores[other]) if scores[other] >= max(0.6, best - 0.1)]


def places_of(node: Any, above: Keys = ()) -> Iterator[tuple[Keys, Any]]:  # noqa: ANN401  any YAML
    """Yield the path and the value of every key below this node."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        keys = (*above, str(key))
        if isinstance(node, Mapping) or isinstance(value, Mapping | list):
            yield keys, value
        yield from places_of(value, keys)


def _without(keys: Sequence[str], levels: Sequence[str]) -> Keys:
    return tuple(key for key in keys if key not in levels)


def _is_part(tokens: Keys, keys: Keys) -> bool:
    """Whether the path contains the tokens in this order, with or without other keys between them."""
    # ``in`` uses up the iterator, so each token is looked for behind the one before.
    rest = iter(keys)
    return all(token in rest for token in tokens)


def _is_temperature(keys: Keys) -> bool:
    """Whether this is where the loss of a distillation term has its temperature."""
    own = keys[2:]
    return len(own) == len(TEMPERATURE) and all(part in ("*", key) for key, part in zip(own, TEMPERATURE, strict=True))
