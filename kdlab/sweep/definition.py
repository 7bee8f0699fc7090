"""A sweep file, ``experiments/NAME.sweep.yaml``: search space, objectives and method, checked before any trial."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.distributions import CategoricalDistribution

from kdlab.configuration.document import Document, load
from kdlab.configuration.experiment import Experiment, read
from kdlab.configuration.form_checks import check_keys, count
from kdlab.errors import ConfigurationError, listing, suggestion
from kdlab.sweep.criteria import Constraint, Objective, constraints, objectives
from kdlab.sweep.entries import search_space
from kdlab.sweep.samplers import Made, pruner, sampler
from kdlab.sweep.space import Entry, Space, Values

TOP = (
    "experiment", "search", "fixed", "objectives", "constraints", "sampler", "pruner", "seeds", "start", "trials",
)  # fmt: skip
ENDING = ".sweep.yaml"


@dataclass(frozen=True)
class Sweep:
    """A checked sweep, as ``read_sweep`` makes it.

    Args:
        path: the sweep file.
        name: the file's name without its ending; also the study's name unless another is asked for.
        base: overrides that every trial has, as ``--set`` takes them.
        written: the experiment as its file has it, without these overrides.
        experiment: the experiment with these overrides.
        space: the settings that are searched.
        objectives: the numbers that the search improves.
        constraints: the bounds that a good trial keeps.
        sampler: the class that chooses values, with its arguments.
        pruner: the class that gives trials up early, with its arguments.
        start: values that are tried first, the experiment's own before all others.
        trials: how many trials there are to be if the command does not say it.
    """

    path: Path
    name: str
    base: tuple[str, ...]
    written: Experiment
    experiment: Experiment
    space: Space
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    sampler: Made
    pruner: Made
    start: tuple[Values, ...]
    trials: int

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that objectives and constraints judge, in the experiment's order.

        A trial runs these and the stages that they need.
        """
        judged = {objective.of.stage for objective in self.objectives}
        judged |= {stage for constraint in self.constraints for stage in constraint.stages}
        return tuple(stage for stage in self.experiment.stages if stage in judged)

    @property
    def reported(self) -> Objective | None:
        """The objective whose values the pruner sees, epoch by epoch.

        It is None if there are several objectives, or if the metric is not measured at epochs of the last judged stage.
        """
        (first, *others) = self.objectives
        per_epoch = first.of.metric.startswith("val/") and first.of.stage == self.stages[-1]
        return first if per_epoch and not others else None

    def of(self, values: Mapping[str, Any]) -> Experiment:
        """Return the experiment of a trial.

        Args:
            values: the trial's values, by the names of the search's entries.

        Raises:
            ConfigurationError: If the values do not fit the experiment.
        """
        return self.experiment.overridden(self.space.overrides(values))


def read_sweep(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> Sweep:
    """Read a sweep file and check everything that can be checked without data.

    Args:
        path: the sweep file, or the experiment beside it.
        overrides: further overrides for every trial, as ``--set`` takes them.
        quick: whether the experiment is read with the overrides of its key ``quick``.

    Raises:
        ConfigurationError: If the file or its experiment is not valid. The message is one line that names file, key and
            line, what was possible and what to do.
    """
    document = load(sweep_path(path))
    content = document.content
    check_keys(document.top, content, TOP, "a sweep")
    file = _experiment_file(document)
    space = search_space(document)
    written = read(file, (), quick)
    experiment = written.overridden(overrides)
    aims = objectives(document, experiment)
    bounds = constraints(document, experiment)
    base = (*_fixed(document), *overrides, f"seeds={_seeds(document, experiment)}")
    experiment = written.overridden(base)
    # The pruner's epochs, the order of entries and the start values depend on the sweep, so they are set afterwards.
    sweep = Sweep(
        document.path, document.path.name.removesuffix(ENDING), base, written, experiment, space, aims, bounds,
        sampler(document, len(aims), space.conditional), pruner(document, len(aims), 0), (),
        count(document / "trials", content.get("trials", 40), 1),
    )  # fmt: skip
    epochs = int(experiment.trainer_arguments(sweep.stages[-1]).get("max_epochs") or 0)
    sweep = replace(sweep, space=_classes_first(sweep), pruner=pruner(document, len(aims), epochs))
    _check_pruner(document, sweep)
    _check_places(document, sweep)
    return _started(document, sweep)


def sweep_path(path: Path) -> Path:
    """Return the path of a sweep file; the name of an experiment stands for the sweep file beside it.

    Raises:
        ConfigurationError: If the file exists, but neither is a sweep file nor has one beside it.
    """
    beside = path.with_name(path.name.removesuffix(".yaml") + ENDING)
    if not path.name.endswith(ENDING) and beside.exists():
        return beside
    # A file that does not exist is reported when it is read.
    if path.name.endswith(ENDING) or not path.exists():
        return path
    raise ConfigurationError(f"{path}: a sweep's file ends in {ENDING}; write {beside}, as docs/sweeps.md shows")


def _experiment_file(document: Document) -> Path:
    path = document.path
    name = document.content.get("experiment", path.name.removesuffix(ENDING) + ".yaml")
    if not isinstance(name, str):
        raise (document / "experiment").error(f"expected an experiment's file, got {name!r}")
    if not (path.parent / name).is_file():
        raise (document / "experiment").error(f"there is no experiment {path.parent / name}; name one: experiment: …")
    return path.parent / name


def _fixed(document: Document) -> tuple[str, ...]:
    fixed = document.content.get("fixed") or {}
    if not isinstance(fixed, Mapping):
        raise (document / "fixed").error(f"expected overrides such as {{trainer.max_epochs: 20}}, got {fixed!r}")
    return tuple(f"{name}={json.dumps(value)}" for name, value in fixed.items())


def _seeds(document: Document, experiment: Experiment) -> list[int]:
    """Return the seeds that a trial is averaged over; by default this is the experiment's first seed alone."""
    seeds = document.content.get("seeds", 1)
    # The exact type is compared, because True and False are ints to isinstance.
    if isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds):
        return seeds
    if isinstance(seeds, list) or type(seeds) is not int or seeds < 1:
        raise (document / "seeds").error(f"expected how many seeds a trial is averaged over, or a list, got {seeds!r}")
    if seeds > len(experiment.seeds):
        raise (document / "seeds").error(f"the experiment has {len(experiment.seeds)} seeds, {seeds} are asked for")
    return experiment.seeds[:seeds]


def _classes_first(sweep: Sweep) -> Space:
    """Return the search space with the entries that choose a class before all others.

    Setting a class takes away the arguments that stood there, so arguments have to be set after it.
    """

    def chooses_class(entry: Entry) -> bool:
        if entry.when or not isinstance(entry.distribution, CategoricalDistribution):
            return False
        try:
            value = sweep.experiment.value(entry.sets[0])
        except ConfigurationError:  # _check_places reports it in full, with its place
            return False
        return isinstance(value, Mapping) and "class_path" in value

    return Space(tuple(sorted(sweep.space.entries, key=lambda entry: not chooses_class(entry))))


def _check_pruner(document: Document, sweep: Sweep) -> None:
    if "pruner" not in document.content or document.content["pruner"] is None:
        return
    if len(sweep.objectives) > 1:
        raise (document / "pruner").error("pruning compares one number, but there are several objectives; drop one key")
    if sweep.reported is None:
        first = sweep.objectives[0].of
        raise (document / "pruner").error(
            f"{first.stage} {first.metric} is not measured each epoch of the last stage {sweep.stages[-1]!r}; "
            "drop the pruner",
        )


def _check_places(document: Document, sweep: Sweep) -> None:
    """Refuse places that do not exist and values that do not fit.

    The experiment is overridden with both ends of every range and with every choice.
    """
    taken: dict[str, str] = {}
    for entry in sweep.space.entries:
        for name in entry.sets:
            # Entries with conditions may set the same place, because a trial need not have both.
            if name in taken and not entry.when:
                raise (document / "search" / entry.name).error(f"{name} is set by {taken[name]} already; keep one")
            taken[name] = entry.name
    for values in sweep.space.corners():
        try:
            sweep.of(values)
        except ConfigurationError as error:
            name = _culprit(sweep, values)
            raise (document / "search" / name).error(f"at {name}={values[name]}: {error}") from error


def _culprit(sweep: Sweep, values: Values) -> str:
    """Return the first entry whose value the experiment refuses."""
    names = list(values)
    for position, name in enumerate(names):
        try:
            sweep.of({name: values[name] for name in names[: position + 1]})
        except ConfigurationError:
            return name
    return names[-1]


def _started(document: Document, sweep: Sweep) -> Sweep:
    """Return the sweep with the values that its first trials try.

    These are the experiment's own values, as far as the search contains them, and then those of the key ``start``.
    """
    own: Values = {}
    for entry in sweep.space.entries:
        if entry.exists(own):
            inside, value = entry.value_of(sweep.experiment.value(entry.sets[0]))
            own |= {entry.name: value} if inside else {}
    written = document.content.get("start") or []
    if not isinstance(written, list) or not all(isinstance(values, Mapping) for values in written):
        raise (document / "start").error(f"expected a list of values such as [{{alpha: 0.5}}], got {written!r}")
    entries = {entry.name: entry for entry in sweep.space.entries}
    for position, values in enumerate(written):
        for name, value in values.items():
            place = document / "start" / position / name
            if name not in entries:
                raise place.error(
                    f"nothing called {name!r} is searched{suggestion(str(name), entries)}; there is {listing(entries)}",
                )
            if not entries[name].takes(value):
                raise place.error(f"{value!r} lies outside of what is searched for {name}")
    starts = [own, *(dict(values) for values in written)]
    return replace(sweep, start=tuple(starts))
