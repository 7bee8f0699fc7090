"""An experiment: read from YAML, checked as a whole against the constructors' types, and built piece by piece."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from kdlab.configuration import overrides as overriding
from kdlab.configuration.calls import Call, Names, built
from kdlab.configuration.contents import Contents
from kdlab.configuration.document import Document, load
from kdlab.configuration.fingerprint import Fingerprints
from kdlab.configuration.form import check_form
from kdlab.configuration.outline import Outline, StageConfig
from kdlab.configuration.parameters import flattened
from kdlab.errors import ConfigurationError, listing, suggestion

if TYPE_CHECKING:
    import lightning.pytorch as lightning
    from torch import Tensor, nn
    from torchmetrics import Metric

    from kdlab.configuration.experiment_check import CheckedExperiment
    from kdlab.explainers.base import Attribution

__all__ = ["ConfigurationError", "Experiment", "StageConfig", "read", "read_outline"]


def read_outline(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> Outline:
    """Return what the form of a file says, checked without importing torch.

    The overrides are not applied: only the first word of each is checked.

    Args:
        path: the experiment's file.
        overrides: ``name=value``, such as ``student.alpha=0.3``.
        quick: whether the overrides under the file's key ``quick`` are checked too.

    Raises:
        ConfigurationError: If the form or an override is wrong: one line with file, key and line, and what to do.
    """
    return _opened(path, overrides, quick)[1]


def read(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> "Experiment":
    """Read an experiment, apply overrides to it, and check all of it.

    Args:
        path: the experiment's file.
        overrides: ``name=value``, applied in this order.
        quick: whether the overrides under the file's key ``quick`` are applied first.

    Raises:
        ConfigurationError: If anything is wrong: one line with file, key and line, what was possible and what to do.
    """
    document, _, applied = _opened(path, overrides, quick)
    # Importing torch and Lightning takes seconds, and the checks above a tenth of one, so their errors come at once.
    from kdlab.configuration.experiment_check import check_experiment

    return Experiment(_overridden(check_experiment(document), applied), tuple(overrides), quick)


def _overridden(checked: "CheckedExperiment", overrides: Sequence[overriding.Override]) -> "CheckedExperiment":
    for override in overrides:
        checked = checked.overridden(override)
    _check_left_out(checked.document, checked.evaluation.left_out)
    return checked


def _check_left_out(document: Document, names: Sequence[str]) -> None:
    """Refuse null for a measure that is not a standard one, because it could not be left out."""
    from kdlab.callbacks.standard import STANDARD

    for name in names:
        if name not in STANDARD:
            raise (document / "evaluate" / "metrics" / name).error(
                f"no standard measure is called {name!r}{suggestion(name, STANDARD)}, so null cannot leave it out; "
                f"there is {listing(STANDARD, len(STANDARD))}"
            )


def _opened(path: Path, overrides: Sequence[str], quick: bool) -> tuple[Document, Outline, list[overriding.Override]]:
    parsed = [overriding.parse(text) for text in overrides]
    document = load(path)
    outline = check_form(document)
    applied = [*(overriding.quick(document) if quick else []), *parsed]
    for override in applied:
        overriding.check_first(override, outline)
    return document, outline, applied


class Experiment:
    """A checked experiment, made by ``read``. Nothing is built until a method is asked for it.

    A method that builds something raises a ConfigurationError if a constructor refuses its arguments.

    Attributes:
        name: the file's ``name``; without one, the name of the file up to its first dot.
        path: the file.
        seeds: the seeds of all stages; a teacher without ``vary: seed`` is trained with seed 0 alone.
        stages: the stages by name, each after the stages that it needs.
        resolved: the whole experiment as JSON, with all defaults and with full class paths; it can be run again.
        probe: how many samples of a split are explained.
        every: explanations are scored at one validation in this many; None: as often as training can afford.
        left_out: names of the standard measures that are not wanted.
        maps: layers whose tensors are drawn, {path in the student: path in the teacher}.
        overrides, quick: what the experiment was read with, so that another process can read the same.
    """

    def __init__(self, checked: "CheckedExperiment", overrides: tuple[str, ...] = (), quick: bool = False) -> None:
        self._checked = checked
        self.overrides = overrides
        self.quick = quick
        self.name = checked.outline.name
        self.path = checked.document.path
        self.seeds = checked.outline.seeds
        self.stages: dict[str, StageConfig] = checked.outline.stages
        self.probe, self.every = checked.outline.probe, checked.outline.every
        self.left_out, self.maps = checked.evaluation.left_out, checked.evaluation.maps
        self.resolved: dict[str, Any] = checked.resolved
        self._names: Names = {}

    def overridden(self, overrides: Sequence[str]) -> "Experiment":
        """Return the experiment with further overrides; only the parts that they change are checked again.

        Raises:
            ConfigurationError: If an override names no place or several, or if its value does not fit.
        """
        parsed = [overriding.parse(text) for text in overrides]
        for override in parsed:
            overriding.check_first(override, self._checked.outline)
        return Experiment(_overridden(self._checked, parsed), (*self.overrides, *overrides), self.quick)

    def with_names(self, names: Names) -> "Experiment":
        """Return a copy that gives the data's names and sizes to the classes that ask for them when they are built.

        A class asks by a parameter with a name of ``NAMES`` or ``SIZES`` for which the file has no value, or null.
        These values are in no fingerprint, because they follow from the data.
        """
        named = copy.copy(self)
        named._names = names
        return named

    def seeds_of(self, stage: str) -> list[int]:
        """Return the seeds that a stage is trained with: all, or 0 alone for a teacher without ``vary: seed``."""
        # One trained teacher serves all seeds of its students, unless ``vary`` asks for one with each seed.
        teaches = any(stage in other.teachers for other in self.stages.values())
        return [0] if teaches and self.stages[stage].vary != "seed" else self.seeds

    def needs(self, stage: str, seed: int) -> dict[str, int]:
        """Return the stages that teach this one at this seed, each with its own seed."""
        return {teacher: seed if self.stages[teacher].vary == "seed" else 0 for teacher in self.stages[stage].teachers}

    def starts(self, stage: str, seed: int) -> tuple[str, int] | None:
        """Return the stage whose finished model this one starts from at this seed, and its seed; None without one."""
        start = self.stages[stage].start
        return None if start is None else (start, seed if self.seeds_of(start) != [0] else 0)

    def parameters(self, stage: str) -> dict[str, str | float | int]:
        """Return flat parameters by the names that users compare, such as ``student.distill.soft.temperature``."""
        return flattened(stage, self.resolved)

    def value(self, name: str) -> Any:  # noqa: ANN401  any YAML
        """Return the value under the name of an override, such as ``student.temperature``; defaults are filled in.

        Raises:
            ConfigurationError: If the name means no place or several.
        """
        return self._checked.places[overriding.parse(f"{name}=null").keys(self._checked.places)]

    def build_data(self) -> "lightning.LightningDataModule":
        """Build the data module."""
        built: lightning.LightningDataModule = self._checked.data.build()
        return built

    def build_model(self, stage: str) -> "nn.Module":
        """Build the network of a stage; its weights are drawn from torch's global generator."""
        return cast("nn.Module", self._module(stage).arguments["model"].handed(self._names).build())

    def build_combination(self, stage: str) -> "Callable[[Tensor], Tensor] | None":
        """Build what makes one teacher of several for a stage; None if the file does not say."""
        node = self._checked.stages[stage].combine
        return None if node is None else node.handed(self._names).build()

    def build_module(self, stage: str, model: "nn.Module", teacher: object | None) -> "lightning.LightningModule":
        """Build the LightningModule of a stage around a model and, if the stage has teachers, around its teacher."""
        arguments: dict[str, object] = {"model": model}
        if self.stages[stage].teachers:
            arguments["teacher"] = teacher
        module: lightning.LightningModule = self._module(stage).handed(self._names).made(**arguments)
        return module

    def build_metrics(self) -> "dict[str, Metric]":
        """Build the metrics that ``evaluate`` names, by name; the result is empty if it names none."""
        metrics = self._checked.evaluation.metrics
        return {name: node.handed(self._names).build() for name, node in metrics.items()}

    def metric_takes(self) -> dict[str, dict[str, str]]:
        """Return the renamed signals of each metric of ``evaluate``, which its key ``takes`` gives."""
        return self._checked.evaluation.takes

    def build_explainer_factory(self) -> "Callable[[nn.Module], Attribution] | None":
        """Return a function from a model to the post-hoc explainer of ``evaluate``; None if it names none."""
        node = self._checked.evaluation.explainer
        return None if node is None else node.handed(self._names).build()

    def by_gradients(self, stage: str) -> bool:
        """Return whether gradient steps train the stage's module; only such a training can use several devices."""
        # Modules from outside kdlab do not say it, and Lightning trains them by steps.
        return bool(getattr(self._module(stage).target, "by_gradients", True))

    def trainer_arguments(self, stage: str) -> dict[str, Any]:
        """Return the arguments of Lightning's Trainer: the stage's own replace the experiment's."""
        return {name: built(value) for name, value in self._checked.trainer_of(stage).items()}

    def callbacks(self, stage: str) -> "list[lightning.Callback]":
        """Build new callbacks for a stage."""
        return [node.handed(self._names).build() for node in self._checked.stages[stage].callbacks]

    def fingerprints(self, memory: Path | None = None) -> Fingerprints:
        """Return the fingerprints of the stages, for the files and the code as they are now.

        Args:
            memory: a file that remembers the digests of large files, only to save time; None remembers nothing.
        """
        return Fingerprints(self._checked, Contents(memory))

    def evaluation_hash(self) -> str:
        """Return twenty hex digits that change when what a test computes does; they depend on no stage and no data."""
        return self.fingerprints().evaluation()

    def _module(self, stage: str) -> Call:
        return self._checked.stages[stage].module
