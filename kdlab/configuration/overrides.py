"""``student.alpha=0.3``: from a short dotted name to the one place in the file that it means."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdlab.configuration.document import LEVELS, Document, Keys, parse_value, short
from kdlab.configuration.outline import TOP, Outline
from kdlab.errors import ConfigurationError, listing, nearest

#: What everybody turns, as it stands behind a stage's name.
EVERYDAY = ("alpha", "beta", "temperature", "task_weight", "explain_weight")
#: Where a stage's temperature is, if one term alone has such a loss.
TEMPERATURE = ("module", "init_args", "distill", "*", "loss", "init_args", "temperature")


@dataclass(frozen=True)
class Override:
    """One ``name=value``: the tokens of the name, the value as YAML, and how to call it in an error."""

    tokens: Keys
    value: Any
    origin: str

    @property
    def name(self) -> str:
        """The name as it was written."""
        return ".".join(self.tokens)

    def target(self, places: Mapping[Keys, Any]) -> tuple[Keys, Any]:
        """Where it lands, and what then stands there.

        Args:
            places: every place of the experiment that may be set, and what stands there.

        Raises:
            ConfigurationError: If the name means nothing or several things here.
        """
        if self.tokens in (("seed",), ("seeds",)):
            return ("seeds",), [self.value] if self.tokens == ("seed",) else self.value
        keys = self.keys(places)
        if keys[-1] == "class_path":
            # Another class has other arguments: the old ones go.
            return keys[:-1], {"class_path": self.value}
        is_class = isinstance(places[keys], Mapping) and "class_path" in places[keys]
        return keys, {"class_path": self.value} if is_class and isinstance(self.value, str) else self.value

    def keys(self, places: Mapping[Keys, Any]) -> Keys:
        """The one place that the name means: a temperature, else exactly, else as a part of a longer path.

        Raises:
            ConfigurationError: If it means none or several.
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
    """Split ``name=value``.

    Raises:
        ConfigurationError: If there is no name, no ``=``, or the value is no YAML.
    """
    name, equals, value = text.partition("=")
    origin = f"--set {text}"
    tokens = tuple(name.strip().split("."))
    if not equals or not all(tokens):
        raise ConfigurationError(f"{origin}: expected name=value, such as student.alpha=0.3")
    return Override(tokens, parse_value(value, origin), origin)


def quick(document: Document) -> list[Override]:
    """The overrides that the file itself keeps under ``quick``."""
    return [
        Override(
            tuple(str(name).split(".")), value, f"{document.places.get(('quick', str(name)), document.path)}: quick"
        )
        for name, value in (document.content.get("quick") or {}).items()
    ]


def check_first(override: Override, outlined: Outline) -> None:
    """Refuse a name that starts with no stage and no top-level key; needs the file's form only."""
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
    """Names that look like this one, as a whole and in the last word, best first; only those about as good as it."""

    def ratio(first: str, second: str) -> float:
        return difflib.SequenceMatcher(None, first.lower(), second.lower()).ratio()

    last = name.rpartition(".")[2]
    scores = {other: (ratio(name, other) + 2 * ratio(last, other.rpartition(".")[2])) / 3 for other in names}
    best = max(scores.values(), default=0.0)
    return [other for other in sorted(names, key=lambda other: -scores[other]) if scores[other] >= max(0.6, best - 0.1)]


def places_of(node: Any, above: Keys = ()) -> Iterator[tuple[Keys, Any]]:  # noqa: ANN401  any YAML
    """Every key and what stands there."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        keys = (*above, str(key))
        if isinstance(node, Mapping) or isinstance(value, Mapping | list):
            yield keys, value
        yield from places_of(value, keys)


def _without(keys: Sequence[str], levels: Sequence[str]) -> Keys:
    return tuple(key for key in keys if key not in levels)


def _is_part(tokens: Keys, keys: Keys) -> bool:
    """Whether the tokens stand in the path in this order."""
    rest = iter(keys)
    return all(token in rest for token in tokens)


def _is_temperature(keys: Keys) -> bool:
    """Whether a term's loss has its temperature here."""
    own = keys[2:]
    return len(own) == len(TEMPERATURE) and all(part in ("*", key) for key, part in zip(own, TEMPERATURE, strict=True))
