"""What a sweep searches: short names, the places of the experiment that each sets, and where its values come from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

if TYPE_CHECKING:
    from optuna import Trial

Scalar = bool | int | float | str | None
Values = dict[str, Scalar]
Distribution = CategoricalDistribution | FloatDistribution | IntDistribution


@dataclass(frozen=True)
class Entry:
    """One thing that is searched.

    Args:
        name: what tables and figures call it.
        sets: dotted names of the experiment, as ``--set`` takes them; all get the same value.
        distribution: where its values come from.
        when: values of other entries under which this one exists; always where it is empty.
        stands_for: what a choice means where it is no plain value, such as a class with its arguments.
    """

    name: str
    sets: tuple[str, ...]
    distribution: Distribution
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    stands_for: Mapping[Scalar, Any] = field(default_factory=dict)

    def exists(self, values: Mapping[str, Scalar]) -> bool:
        """Whether it is searched beside these values."""
        return all(name in values and values[name] in possible for name, possible in self.when.items())

    def suggest(self, trial: "Trial") -> Scalar:
        """The value that the sampler wants to see."""
        where = self.distribution
        if isinstance(where, CategoricalDistribution):
            chosen: Scalar = trial.suggest_categorical(self.name, where.choices)
            return chosen
        if isinstance(where, FloatDistribution):
            return trial.suggest_float(self.name, where.low, where.high, step=where.step, log=where.log)
        return trial.suggest_int(self.name, where.low, where.high, step=where.step, log=where.log)

    def overrides(self, value: Scalar) -> Iterator[str]:
        """``name=value`` for each place that it sets."""
        meant = self.stands_for.get(value, value)
        return (f"{place}={json.dumps(meant)}" for place in self.sets)

    def ends(self) -> list[Scalar]:
        """Its extreme values, or all of its choices: what must fit the experiment before anything trains."""
        where = self.distribution
        return list(where.choices) if isinstance(where, CategoricalDistribution) else [where.low, where.high]

    def takes(self, value: Scalar) -> bool:
        """Whether the value is one of its own."""
        where = self.distribution
        if isinstance(where, CategoricalDistribution):
            return value in where.choices and isinstance(value, bool) in {isinstance(c, bool) for c in where.choices}
        if isinstance(value, bool) or not isinstance(value, int | float) or not where.low <= value <= where.high:
            return False
        step = where.step
        return step is None or abs(round((value - where.low) / step) - (value - where.low) / step) < 1e-8

    def value_of(self, written: Any) -> tuple[bool, Scalar]:  # noqa: ANN401  any YAML
        """Whether what stands in an experiment is one of its values, and which."""
        for label, meant in self.stands_for.items():
            if _same(meant, written):
                return True, label
        if isinstance(written, Mapping) and "class_path" in written:
            written = next((c for c in self.ends() if _same(c, written)), None)
        plain = written if isinstance(written, bool | int | float | str) or written is None else ""
        return self.takes(plain), plain


@dataclass(frozen=True)
class Space:
    """All entries, each behind those that its ``when`` names."""

    entries: tuple[Entry, ...]

    def suggest(self, trial: "Trial") -> Values:
        """The values of a trial."""
        values: Values = {}
        for entry in self.entries:
            if entry.exists(values):
                values[entry.name] = entry.suggest(trial)
        return values

    def overrides(self, values: Mapping[str, Scalar]) -> list[str]:
        """What the values mean to the experiment, in an order in which a class stands before its arguments."""
        return [text for entry in self.entries if entry.name in values for text in entry.overrides(values[entry.name])]

    def corners(self) -> Iterator[Values]:
        """Values that together reach every end of every entry."""
        for entry in self.entries:
            for end in entry.ends():
                yield self._around(entry, end)

    def _around(self, fixed: Entry, value: Scalar) -> Values:
        """First values everywhere, but this one here, and what it takes for it to exist."""
        needed: dict[str, Sequence[Scalar]] = {fixed.name: [value]}
        for entry in reversed(self.entries):
            if entry.name in needed:
                needed = {**{name: list(values) for name, values in entry.when.items()}, **needed}
        values: Values = {}
        for entry in self.entries:
            if entry.exists(values):
                values[entry.name] = needed.get(entry.name, entry.ends())[0]
        return values

    @property
    def conditional(self) -> bool:
        """Whether some entries exist only sometimes."""
        return any(entry.when for entry in self.entries)


def _same(meant: Any, written: Any) -> bool:  # noqa: ANN401  any YAML
    """Whether a choice says what the experiment has, defaults filled in: a class matches by its name and arguments."""
    if isinstance(written, Mapping) and "class_path" in written:
        if isinstance(meant, str):
            return bool(meant.rpartition(".")[2] == str(written["class_path"]).rpartition(".")[2])
        if not isinstance(meant, Mapping) or "class_path" not in meant:
            return False
        arguments = written.get("init_args") or {}
        meant_arguments = meant.get("init_args") or {}
        same_class = _same(meant["class_path"], written)
        return same_class and all(
            name in arguments and _same(value, arguments[name]) for name, value in meant_arguments.items()
        )
    return bool(meant == written)
