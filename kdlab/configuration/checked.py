"""A whole experiment checked against the constructors' types."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import lightning.pytorch as lightning
from torch import nn
from torchmetrics import Metric

from kdlab.configuration.classes import add_to_path, find, full_path
from kdlab.configuration.document import Document, Keys
from kdlab.configuration.form import check_form
from kdlab.configuration.nodes import Call, Node
from kdlab.configuration.signatures import signature_of
from kdlab.configuration.structure import Outline, StageConfig
from kdlab.configuration.trainer import allowed, check_trainer
from kdlab.configuration.typed import Written, check, check_class
from kdlab.explainers.base import Attribution


@dataclass(frozen=True)
class Evaluation:
    """How every stage is scored.

    Args:
        explainer: the post-hoc method, a factory from the model.
        metrics: those that the file adds, by name.
        takes: their renames, where there are some.
        left_out: names of standard measures that the file has as null.
        maps: layers whose tensors are drawn, {path in the student: path in the teacher}.
    """

    explainer: Call | None
    metrics: dict[str, Call]
    takes: dict[str, dict[str, str]]
    left_out: tuple[str, ...]
    maps: dict[str, str]

    def plain(self) -> dict[str, Any]:
        """Explainer, metrics and maps as JSON."""
        metrics: dict[str, Any] = {name: node.plain() for name, node in self.metrics.items()}
        for name, takes in self.takes.items():
            metrics[name]["takes"] = takes
        return {
            "explainer": None if self.explainer is None else self.explainer.plain(),
            "metrics": metrics | dict.fromkeys(self.left_out),
            "maps": self.maps,
        }


@dataclass(frozen=True)
class Checked:
    """Every part of an experiment as checked nodes."""

    document: Document
    outline: Outline
    data: Call
    modules: dict[str, Call]
    callbacks: dict[str, list[Call]]
    combines: dict[str, Call | None]
    #: Trainer arguments as they are given at the top and at each stage, and merged for each stage.
    trainer: dict[str, Node]
    own_trainers: dict[str, dict[str, Node]]
    trainers: dict[str, dict[str, Node]]
    evaluation: "Evaluation"

    def resolved(self) -> dict[str, Any]:
        """The experiment as JSON: defaults filled in, full class paths, each stage with all its trainer arguments."""
        return self._plain({name: _plain(nodes) for name, nodes in self.trainers.items()})

    def filled(self) -> Document:
        """The document with defaults filled in, the trainer's arguments where the file has them."""
        own = {name: _plain(nodes) for name, nodes in self.own_trainers.items()}
        return replace(self.document, content=self._plain(own))

    def further(self) -> dict[Keys, None]:
        """Trainer arguments that are set nowhere, but may be, by an override."""
        places = [("trainer",), *(("stages", name, "trainer") for name in self.outline.stages)]
        return {(*keys, argument): None for keys in places for argument in allowed().parameters}

    def _plain(self, trainers: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return {
            "name": self.outline.name,
            "seeds": self.outline.seeds,
            "data": self.data.plain(),
            "trainer": _plain(self.trainer),
            "evaluate": {
                **self.evaluation.plain(),
                "probe": self.outline.probe,
                "every": self.outline.every,
            },
            "stages": {name: self._stage(stage, trainers[name]) for name, stage in self.outline.stages.items()},
        }

    def _stage(self, stage: StageConfig, trainer: dict[str, Any]) -> dict[str, Any]:
        written = self.document.content["stages"][stage.name]
        return {
            "teacher": list(stage.teacher) if isinstance(stage.teacher, tuple) else stage.teacher,
            "combine": None if (combine := self.combines[stage.name]) is None else combine.plain(),
            "start": stage.start,
            "labelled": stage.labelled,
            "monitor": stage.monitor,
            "weights": written.get("weights"),
            "vary": stage.vary,
            "cache": stage.cache,
            "trainer": trainer,
            "callbacks": [node.plain() for node in self.callbacks[stage.name]],
            "module": self.modules[stage.name].plain(),
        }


def check_experiment(document: Document) -> Checked:
    """Check all of an experiment: first its form, then everything against the constructors' types.

    Raises:
        ConfigurationError: One line that names file, key and line, what was possible and what to do.
    """
    outlined = check_form(document)
    add_to_path(document.path.parent)
    content = document.content
    data = check_class(content["data"], [lightning.LightningDataModule], document, ("data",))
    trainer = check_trainer(content.get("trainer") or {}, document, ("trainer",))
    modules: dict[str, Call] = {}
    callbacks: dict[str, list[Call]] = {}
    combines: dict[str, Call | None] = {}
    own: dict[str, dict[str, Node]] = {}
    for name, stage in outlined.stages.items():
        keys = ("stages", name)
        modules[name] = _module(stage, document, (*keys, "module"))
        combine = stage.combine
        combines[name] = None if combine is None else check_class(combine, [nn.Module], document, (*keys, "combine"))
        callbacks[name] = [
            check_class(callback, [lightning.Callback], document, (*keys, "callbacks", str(n)))
            for n, callback in enumerate(stage.callbacks)
        ]
        own[name] = check_trainer(content["stages"][name].get("trainer") or {}, document, (*keys, "trainer"))
    return Checked(
        document,
        outlined,
        data,
        modules,
        callbacks,
        combines,
        trainer,
        own,
        {name: {**trainer, **own[name]} for name in outlined.stages},
        _evaluate(document),
    )


def _module(stage: StageConfig, document: Document, keys: Keys) -> Call:
    """A stage's LightningModule: its ``model`` is one of the arguments, its ``teacher`` is left to the runner."""
    if "teacher" in (stage.module.get("init_args") or {}):
        raise document.error(
            (*keys, "init_args", "teacher"), "the teacher is a stage; name it beside module, as teacher: NAME"
        )
    call = check_class(stage.module, [lightning.LightningModule], document, keys, leave_out=("teacher",))
    name = call.class_path.rsplit(".", 1)[-1]
    if not isinstance(call.arguments.get("model"), Call):
        raise document.error(keys, f"{name} has no argument 'model' with a network; a stage's module takes one")
    teacher = signature_of(call.target).parameters.get("teacher")
    if stage.teachers and teacher is None:
        raise document.error(
            (*keys[:-1], "teacher"), f"{name} takes no teacher; leave the key out, or take Distilled or Joint"
        )
    if not stage.teachers and teacher is not None and teacher.required:
        raise document.error(keys[:-1], f"{name} needs a teacher; name a stage, as teacher: NAME")
    return call


def _evaluate(document: Document) -> Evaluation:
    """How every stage is scored, as the file says it."""
    evaluate, keys = document.content.get("evaluate") or {}, ("evaluate",)
    explainer = None
    if evaluate.get("explainer") is not None:
        factory = Callable[[nn.Module], Attribution]
        _refuse_bare_captum(evaluate["explainer"], document, (*keys, "explainer"))
        explainer = check_class(evaluate["explainer"], [factory], document, (*keys, "explainer"))
    metrics: dict[str, Call] = {}
    takes: dict[str, dict[str, str]] = {}
    named = evaluate.get("metrics") or {}
    left_out = tuple(str(name) for name, written in named.items() if written is None)
    for name, written in named.items():
        place = (*keys, "metrics", str(name))
        if written is None:
            continue
        if not isinstance(written, Mapping) or "class_path" not in written:
            raise document.error(
                place, f"expected {{class_path: …, init_args: {{…}}}}, or null to leave one out, got {written!r}"
            )
        renames = check(written.get("takes") or {}, dict[str, str], document, (*place, "takes"))
        takes |= {name: renames.plain()} if renames.plain() else {}
        spec = {key: value for key, value in written.items() if key != "takes"}
        metrics[name] = check_class(spec, [Metric], document, place)
    maps = check(evaluate.get("maps") or {}, dict[str, str], document, (*keys, "maps"))
    return Evaluation(explainer, metrics, takes, left_out, maps.plain())


def _refuse_bare_captum(written: Written, document: Document, keys: Keys) -> None:
    """Classes of captum have another contract (modes, gradients, shapes), which the adapter keeps."""
    path = written.get("class_path") if isinstance(written, Mapping) else written
    name = full_path(path, document, (*keys, "class_path"))
    target = find(name, document, (*keys, "class_path"))
    if isinstance(target, type) and any(base.__module__.partition(".")[0] == "captum" for base in target.__mro__):
        raise document.error(
            (*keys, "class_path"),
            f"{name} goes through the adapter: {{class_path: Captum, init_args: {{method: {name}}}}}, beside it "
            "layer: PATH where the method takes one, and arguments: {NAME: VALUE} for its own",
        )


def _plain(nodes: Mapping[str, Node]) -> dict[str, Any]:
    return {name: node.plain() for name, node in nodes.items()}
