"""The search space of a sweep: short names, the places in the experiment that each sets, and the possible values."""

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
    """One setting that is searched.

    Args:
        name: what tables and figures call it.
        sets: dotted names of the experiment, as ``--set`` takes them; all get the same value.
        distribution: the range or the choices that its values come from.
        when: values of other entries under which this one exists; if it is empty, the entry always exists.
        stands_for: what a choice means if it is no plain value, such as a class with its arguments.
    """

    name: str
    sets: tuple[str, ...]
    distribution: Distribution
    when: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    stands_for: Mapping[Scalar, Any] = field(default_factory=dict)

    def exists(self, values: Mapping[str, Scalar]) -> bool:
        """Return whether a trial with these values has this entry as well."""
        return all(name in values and values[name] in possible for name, possible in self.when.items())

    def suggest(self, trial: "Trial") -> Scalar:
        """Return the value that the sampler chooses for a trial."""
        where = self.distribution
        if isinstance(where, CategoricalDistribution):
            chosen: Scalar = trial.suggest_categorical(self.name, where.choices)
            return chosen
        if isinstance(where, FloatDistribution):
            return trial.suggest_float(self.name, where.low, where.high, step=where.step, log=where.log)
        return trial.suggest_int(self.name, where.low, where.high, step=where.step, log=where.log)

    def overrides(self, value: Scalar) -> Iterator[str]:
        """Return ``place=value`` for each place that the entry sets, with the value as JSON."""
        meant = self.stands_for.get(value, value)
        return (f"{place}={json.dumps(meant)}" for place in self.sets)

    def ends(self) -> list[Scalar]:
        """Return the lowest and highest value, or all choices; they must fit the experiment before anything trains."""
        where = self.distribution
        return list(where.choices) if isinstance(where, CategoricalDistribution) else [where.low, where.high]

    def takes(self, value: Scalar) -> bool:
        """Return whether the value lies in the entry's range or is one of its choices."""
        where = self.distribution
        if isinstance(where, CategoricalDistribution):
            # To Python 1 equals True, but a number is no choice among truth values.
            return value in where.choices and isinstance(value, bool) in {isinstance(c, bool) for c in where.choices}
        if isinstance(value, bool) or not isinstance(value, int | float) or not where.low <= value <= where.high:
            return False
        step = where.step
        # Steps such as 0.1 are not exact in binary.
        return step is None or abs(round((value - where.low) / step) - (value - where.low) / step) < 1e-8

    def value_of(self, written: Any) -> tuple[bool, Scalar]:  # noqa: ANN401  any YAML
        """Return whether an experiment's own value is one of this entry's, and which one.

        The second part means nothing if the first is False. A class with its arguments is recognised as the choice that
        stands for it.
        """
        for label, meant in self.stands_for.items():
            if _same(meant, written):
                return True, label
        if isinstance(written, Mapping) and "class_path" in written:
            written = next((c for c in self.ends() if _same(c, written)), None)
        plain = written if isinstance(written, bool | int | float | str) or written is None else ""
        return self.takes(plain), plain


@dataclass(frozen=True)
class Space:
    """All entries of a search, each after those that its ``when`` names."""

    entries: tuple[Entry, ...]

    def suggest(self, trial: "Trial") -> Values:
        """Return the values of a trial, by entry; entries that the trial does not have are left out."""
        values: Values = {}
        for entry in self.entries:
            if entry.exists(values):
                values[entry.name] = entry.suggest(trial)
        return values

    def overrides(self, values: Mapping[str, Scalar]) -> list[str]:
        """Return what the values mean as overrides of the experiment.

        The overrides have the order of the entries, in which a class stands before its arguments.
        """
        return [text for entry in self.entries if entry.name in values for text in entry.overrides(values[entry.name])]

    def corners(self) -> Iterator[Values]:
        """Yield the values of trials that together reach every end of every entry."""
        for entry in self.entries:
            for end in entry.ends():
                yield self._around(entry, end)

    def _around(self, fixed: Entry, value: Scalar) -> Values:
        """Return the values of a trial in which one entry has the given value.

        The entries that this one depends on get a value under which it exists, and all others get their first value.
        """
        needed: dict[str, Sequence[Scalar]] = {fixed.name: [value]}
        # Backwards, because an entry that is needed may have conditions of its own, which stand before it.
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
        """Whether some entries exist only under conditions."""
        return any(entry.when for entry in self.entries)


def _same(meant: Any, written: Any) -> bool:  # noqa: ANN401  any YAML
    """Return whether a choice means what the experiment has.

    A class matches if its name and the arguments that the choice gives are the same. The experiment also has the
    defaults of the other arguments, which do not count.
    """
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
