"""An experiment: read from YAML, checked whole against the constructors' types, built piece by piece, fingerprinted."""

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
    """Check what the file's form alone says, and that every override starts with something there is; imports no torch.

    Raises:
        ConfigurationError: One line that names file, key and line, what was possible and what to do.
    """
    return _opened(path, overrides, quick)[1]


def read(path: Path, overrides: Sequence[str] = (), quick: bool = False) -> "Experiment":
    """Read an experiment, apply ``name=value`` overrides (after those of its ``quick`` key if asked), check all of it.

    Raises:
        ConfigurationError: One line that names file, key and line, what was possible and what to do.
    """
    document, _, applied = _opened(path, overrides, quick)
    # Only now torch and Lightning are needed: seconds, where all above takes a tenth.
    from kdlab.configuration.experiment_check import check_experiment

    return Experiment(_overridden(check_experiment(document), applied), tuple(overrides), quick)


def _overridden(checked: "CheckedExperiment", overrides: Sequence[overriding.Override]) -> "CheckedExperiment":
    for override in overrides:
        checked = checked.overridden(override)
    _check_left_out(checked.document, checked.evaluation.left_out)
    return checked


def _check_left_out(document: Document, names: Sequence[str]) -> None:
    """Refuse to leave out a measure that nobody would have taken."""
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
    """A checked experiment; ``read`` makes it. Nothing is built until asked for.

    Attributes:
        name: the file's ``name``, else its stem.
        path: the file.
        seeds: seeds of all stages that are no teachers.
        stages: stages by name, each behind its teachers.
        resolved: the whole experiment as JSON, all defaults filled in, with full class paths; it can be run again.
        probe: how many samples of a split are explained.
        every: explanations are scored at one validation in this many.
        left_out: standard measures that are not wanted.
        maps: layers whose tensors are drawn, {path in the student: path in the teacher}.
        overrides, quick: what it was read with, so that another process can read the same.
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
        """The same experiment with further overrides; only the parts in which they land are checked again.

        Raises:
            ConfigurationError: If an override names nothing here, or its value does not fit.
        """
        parsed = [overriding.parse(text) for text in overrides]
        for override in parsed:
            overriding.check_first(override, self._checked.outline)
        return Experiment(_overridden(self._checked, parsed), (*self.overrides, *overrides), self.quick)

    def with_names(self, names: Names) -> "Experiment":
        """The same, the data's names and ``preparation`` (``NAMES``) handed to what asks for them when it is built.

        A class asks by a parameter of that name for which the file has nothing, or null. What is handed is no part of
        a fingerprint: it follows from the data.
        """
        named = copy.copy(self)
        named._names = names
        return named

    def seeds_of(self, stage: str) -> list[int]:
        """The seeds a stage is trained with: all, or 0 alone for a teacher that does not ``vary: seed``."""
        teaches = any(stage in other.teachers for other in self.stages.values())
        return [0] if teaches and self.stages[stage].vary != "seed" else self.seeds

    def needs(self, stage: str, seed: int) -> dict[str, int]:
        """The stages that teach this one at this seed, and the seed of each."""
        return {teacher: seed if self.stages[teacher].vary == "seed" else 0 for teacher in self.stages[stage].teachers}

    def starts(self, stage: str, seed: int) -> tuple[str, int] | None:
        """The stage whose finished model this one starts from at this seed, and the seed of it."""
        start = self.stages[stage].start
        return None if start is None else (start, seed if self.seeds_of(start) != [0] else 0)

    def parameters(self, stage: str) -> dict[str, str | float | int]:
        """Flat parameters by the names users compare by: ``student.alpha``, ``student.distill.soft.temperature``."""
        return flattened(stage, self.resolved)

    def value(self, name: str) -> Any:  # noqa: ANN401  any YAML
        """What stands under the name of an override, such as ``student.temperature``; defaults are filled in.

        Raises:
            ConfigurationError: If the name means nothing or several things here.
        """
        return self._checked.places[overriding.parse(f"{name}=null").keys(self._checked.places)]

    def build_data(self) -> "lightning.LightningDataModule":
        """The data module."""
        built: lightning.LightningDataModule = self._checked.data.build()
        return built

    def build_model(self, stage: str) -> "nn.Module":
        """The network of a stage, its weights drawn from the global generator."""
        return cast("nn.Module", self._module(stage).arguments["model"].handed(self._names).build())

    def build_combination(self, stage: str) -> "Callable[[Tensor], Tensor] | None":
        """What makes one teacher of several for a stage; None where it does not say."""
        node = self._checked.stages[stage].combine
        return None if node is None else node.handed(self._names).build()

    def build_module(self, stage: str, model: "nn.Module", teacher: object | None) -> "lightning.LightningModule":
        """The LightningModule of a stage around a model and, where the stage has one, its teacher."""
        arguments: dict[str, object] = {"model": model}
        if self.stages[stage].teachers:
            arguments["teacher"] = teacher
        module: lightning.LightningModule = self._module(stage).handed(self._names).made(**arguments)
        return module

    def build_metrics(self) -> "dict[str, Metric]":
        """The metrics that ``evaluate`` names; empty where it names none."""
        metrics = self._checked.evaluation.metrics
        return {name: node.handed(self._names).build() for name, node in metrics.items()}

    def metric_takes(self) -> dict[str, dict[str, str]]:
        """The renames of each metric of ``evaluate``, as ``takes`` beside its class path says."""
        return self._checked.evaluation.takes

    def build_explainer_factory(self) -> "Callable[[nn.Module], Attribution] | None":
        """From a model to the post-hoc explainer of ``evaluate``; None where it names none."""
        node = self._checked.evaluation.explainer
        return None if node is None else node.handed(self._names).build()

    def by_gradients(self, stage: str) -> bool:
        """Whether steps train the stage's module, which several devices can share; others say that they do not."""
        return bool(getattr(self._module(stage).target, "by_gradients", True))

    def trainer_arguments(self, stage: str) -> dict[str, Any]:
        """Arguments of Lightning's Trainer: the experiment's, and the stage's own on top."""
        return {name: built(value) for name, value in self._checked.trainer_of(stage).items()}

    def callbacks(self, stage: str) -> "list[lightning.Callback]":
        """New callbacks of a stage."""
        return [node.handed(self._names).build() for node in self._checked.stages[stage].callbacks]

    def fingerprints(self, memory: Path | None = None) -> Fingerprints:
        """What decides the results of the stages, of the files and the code as they are now.

        Args:
            memory: a file that remembers the digests of large files, for speed alone.
        """
        return Fingerprints(self._checked, Contents(memory))

    def evaluation_hash(self) -> str:
        """Twenty hex digits that change when what is computed at test does; no stage enters, and no data."""
        return self.fingerprints().evaluation()

    def _module(self, stage: str) -> Call:
        return self._checked.stages[stage].module
