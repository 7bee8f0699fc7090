"""Check a whole experiment, or what an override changes, against the constructors' types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import lightning.pytorch as lightning
from torch import nn
from torchmetrics import Metric

from kdlab.configuration.calls import Call, Value, as_json
from kdlab.configuration.classes import add_to_path, find, full_path
from kdlab.configuration.document import Document, Keys, Place
from kdlab.configuration.form import ELSEWHERE, check_form
from kdlab.configuration.outline import Outline, StageConfig
from kdlab.configuration.overrides import Override, places_of
from kdlab.configuration.signatures import Signature, signature_of
from kdlab.configuration.type_check import Written, check, check_arguments, check_class
from kdlab.errors import listing, suggestion
from kdlab.explainers.base import Attribution


@dataclass(frozen=True)
class Evaluation:
    """How every stage is scored.

    Args:
        explainer: the post-hoc method, a factory that takes the model; None without one.
        metrics: the metrics that the file adds, by name.
        takes: the renamed signals of those metrics that rename some.
        left_out: names of the standard measures that the file sets to null.
        maps: layers whose tensors are drawn, {path in the student: path in the teacher}.
    """

    explainer: Call | None
    metrics: dict[str, Call]
    takes: dict[str, dict[str, str]]
    left_out: tuple[str, ...]
    maps: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """Return explainer, metrics and maps as JSON."""
        metrics: dict[str, Any] = {name: call.plain() for name, call in self.metrics.items()}
        for name, takes in self.takes.items():
            metrics[name]["takes"] = takes
        return {
            "explainer": as_json(self.explainer),
            "metrics": metrics | dict.fromkeys(self.left_out),
            "maps": self.maps,
        }


@dataclass(frozen=True)
class CheckedStage:
    """The classes of a stage, and the Trainer's arguments that the stage itself gives."""

    module: Call
    callbacks: list[Call]
    combine: Call | None
    trainer: dict[str, Value]


@dataclass(frozen=True)
class CheckedExperiment:
    """Every part of an experiment, checked; ``trainer`` holds the arguments at the top of the file, for all stages."""

    document: Document
    outline: Outline
    data: Call
    trainer: dict[str, Value]
    evaluation: Evaluation
    stages: dict[str, CheckedStage]

    def trainer_of(self, stage: str) -> dict[str, Value]:
        """Return the Trainer's arguments for a stage: its own replace the experiment's."""
        return {**self.trainer, **self.stages[stage].trainer}

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The experiment as JSON, with defaults, full class paths, and all Trainer arguments in each stage."""
        return {
            "name": self.outline.name,
            "seeds": self.outline.seeds,
            "data": self.data.plain(),
            "trainer": as_json(self.trainer),
            "evaluate": {**self.evaluation.plain(), "probe": self.outline.probe, "every": self.outline.every},
            "stages": {name: self._stage(name, self.trainer_of(name)) for name in self.outline.stages},
        }

    @cached_property
    def places(self) -> dict[Keys, Any]:
        """What an override may set, and its value: all that is resolved, and further arguments of the Trainer."""
        trainers = [("trainer",), *(("stages", name, "trainer") for name in self.outline.stages)]
        # An argument that the file leaves out has no place of its own, and an override may still set it.
        unset = {(*keys, name): None for keys in trainers for name in trainer_parameters()}
        return {**unset, **dict(places_of(self.resolved))}

    def overridden(self, override: Override) -> "CheckedExperiment":
        """Return the experiment with this override; only the part that it changes is checked again.

        Raises:
            ConfigurationError: If the override's name means no place or several, or if its value does not fit.
        """
        keys, value = override.target(self.places)
        part = keys[:2] if keys[0] == "stages" else keys[:1]
        # Defaults are written out first, because the override may set an argument of a class that is itself a default.
        document = self.document.replaced(part, self._written(part), None)
        document = document.replaced(keys, value, override.origin)
        changed = replace(self, document=document, outline=check_form(document))
        if part == ("data",):
            return replace(changed, data=check_data(document))
        if part == ("trainer",):
            return replace(changed, trainer=check_trainer(document / "trainer"))
        if part == ("evaluate",):
            return replace(changed, evaluation=check_evaluation(document))
        if part[0] == "stages":
            stage = changed.outline.stages[part[1]]
            return replace(changed, stages={**self.stages, stage.name: check_stage(stage, document)})
        # The name and the seeds have no constructor: check_form has checked them.
        return changed

    def _written(self, part: Keys) -> Any:  # noqa: ANN401  any JSON
        """Return a part as a file would have it, with all defaults filled in."""
        if part[0] == "stages":
            # Its own Trainer arguments alone: copies of the experiment's would hide a later override of those.
            return self._stage(part[1], self.stages[part[1]].trainer)
        return self.resolved[part[0]]

    def _stage(self, name: str, trainer: Mapping[str, Value]) -> dict[str, Any]:
        config, stage = self.outline.stages[name], self.stages[name]
        return {
            "teacher": list(config.teacher) if isinstance(config.teacher, tuple) else config.teacher,
            "combine": as_json(stage.combine),
            "start": config.start,
            "labelled": config.labelled,
            "monitor": config.monitor,
            "weights": self.document.content["stages"][name].get("weights"),
            "vary": config.vary,
            "cache": config.cache,
            "trainer": as_json(trainer),
            "callbacks": as_json(stage.callbacks),
            "module": stage.module.plain(),
        }


def check_experiment(document: Document) -> CheckedExperiment:
    """Check all of an experiment: first its form, then everything against the constructors' types.

    Raises:
        ConfigurationError: If anything is wrong: one line with file, key and line, what was possible and what to do.
    """
    outline = check_form(document)
    add_to_path(document.path.parent)
    data = check_data(document)
    trainer = check_trainer(document / "trainer")
    stages = {name: check_stage(stage, document) for name, stage in outline.stages.items()}
    return CheckedExperiment(document, outline, data, trainer, check_evaluation(document), stages)


def check_data(document: Document) -> Call:
    """Check the data module and return its call.

    Raises:
        ConfigurationError: If it is no LightningDataModule, or an argument does not fit.
    """
    return check_class(document.content["data"], [lightning.LightningDataModule], document / "data")


def check_stage(stage: StageConfig, document: Document) -> CheckedStage:
    """Check the classes of a stage, and its own arguments of the Trainer.

    Raises:
        ConfigurationError: If a class is missing or of the wrong kind, an argument does not fit, or a teacher is
            missing or is not taken.
    """
    place = document / "stages" / stage.name
    module = _module(stage, place / "module")
    combine = stage.combine
    return CheckedStage(
        combine=None if combine is None else check_class(combine, [nn.Module], place / "combine"),
        callbacks=[
            check_class(callback, [lightning.Callback], place / "callbacks" / position)
            for position, callback in enumerate(stage.callbacks)
        ],
        trainer=check_trainer(place / "trainer"),
        module=module,
    )


def _module(stage: StageConfig, place: Place) -> Call:
    """Return a stage's LightningModule: ``model`` is among its arguments, ``teacher`` is left to the runner."""
    if "teacher" in (stage.module.get("init_args") or {}):
        raise (place / "init_args" / "teacher").error("the teacher is a stage; name it beside module, as teacher: NAME")
    call = check_class(stage.module, [lightning.LightningModule], place, leave_out=("teacher",))
    name = call.class_path.rsplit(".", 1)[-1]
    if not isinstance(call.arguments.get("model"), Call):
        raise place.error(f"{name} has no argument 'model' with a network; a stage's module takes one")
    teacher = signature_of(call.target).parameters.get("teacher")
    if stage.teachers and teacher is None:
        raise (place.above / "teacher").error(f"{name} takes no teacher; leave the key out, or take Distilled or Joint")
    if not stage.teachers and teacher is not None and teacher.required:
        raise place.above.error(f"{name} needs a teacher; name a stage, as teacher: NAME")
    return call


def trainer_parameters() -> dict[str, Any]:
    """Return the parameters of Lightning's Trainer that an experiment may set, by name."""
    parameters = signature_of(lightning.Trainer).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in ELSEWHERE}


def check_trainer(place: Place) -> dict[str, Value]:
    """Return the arguments for Lightning's Trainer at this place, checked against its own types.

    Raises:
        ConfigurationError: If the Trainer has no such argument, or a value does not fit.
    """
    trainer, parameters = place.value or {}, trainer_parameters()
    for key in trainer:
        if key not in parameters:
            raise (place / key).error(
                f"Lightning's Trainer has no argument {str(key)!r}{suggestion(str(key), parameters)}; "
                f"it has {listing(parameters, 40)}",
            )
    # Only given arguments are checked: defaults filled in here would be part of every fingerprint.
    signature = Signature({name: parameters[name] for name in trainer}, False)
    return check_arguments(signature, trainer, "Trainer", place)


def check_evaluation(document: Document) -> Evaluation:
    """Check how the file says that every stage is scored.

    Raises:
        ConfigurationError: If the explainer or a metric is of the wrong kind, or an argument, a rename or a map does
            not fit.
    """
    place = document / "evaluate"
    evaluate = place.value or {}
    explainer = None
    if evaluate.get("explainer") is not None:
        factory = Callable[[nn.Module], Attribution]
        _refuse_bare_captum(evaluate["explainer"], place / "explainer")
        explainer = check_class(evaluate["explainer"], [factory], place / "explainer")
    metrics: dict[str, Call] = {}
    takes: dict[str, dict[str, str]] = {}
    written_metrics = evaluate.get("metrics") or {}
    for name, written in written_metrics.items():
        metric_place = place / "metrics" / name
        if written is None:
            continue
        if not isinstance(written, Mapping) or "class_path" not in written:
            raise metric_place.error(
                f"expected {{class_path: …, init_args: {{…}}}}, or null to leave one out, got {written!r}"
            )
        renames = check(written.get("takes") or {}, dict[str, str], metric_place / "takes")
        takes |= {name: renames} if renames else {}
        metrics[name] = check_class(
            {key: value for key, value in written.items() if key != "takes"}, [Metric], metric_place
        )
    left_out = tuple(str(name) for name, written in written_metrics.items() if written is None)
    maps = check(evaluate.get("maps") or {}, dict[str, str], place / "maps")
    return Evaluation(explainer, metrics, takes, left_out, maps)


def _refuse_bare_captum(written: Written, place: Place) -> None:
    """Refuse captum's own classes: the adapter makes them treat modes, gradients and shapes as explainers must."""
    path = written.get("class_path") if isinstance(written, Mapping) else written
    name = full_path(path, place / "class_path")
    target = find(name, place / "class_path")
    if isinstance(target, type) and any(base.__module__.partition(".")[0] == "captum" for base in target.__mro__):
        raise (place / "class_path").error(
            f"{name} goes through the adapter: {{class_path: Captum, init_args: {{method: {name}}}}}, beside it "
            "layer: PATH where the method takes one, and arguments: {NAME: VALUE} for its own",
        )
