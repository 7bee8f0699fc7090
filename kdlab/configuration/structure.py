"""The form of an experiment file: its keys, its stages and who teaches whom, checked without importing torch."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kdlab.configuration.document import Document, Keys
from kdlab.configuration.expected import a_class, count, known_keys, mapping
from kdlab.errors import ConfigurationError, listing, suggestion

TOP = ("name", "seeds", "data", "trainer", "evaluate", "stages", "quick")
EVALUATE = ("explainer", "metrics", "probe", "every", "maps")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
#: Bytes that a name may have: it becomes part of file names, which end at 255, and of MLflow's keys, which end at 250.
LONGEST = 100


@dataclass(frozen=True)
class StageConfig:
    """One stage as its file says it; its classes are checked, not built.

    Args:
        name: what the file calls it.
        module: class path and arguments of its LightningModule.
        teacher: the stage, or the stages of an ensemble, that teach it.
        labelled: how many training samples keep their labels, drawn anew for each seed; None keeps all.
        monitor: the metric whose best epoch is kept.
        weights: weights that exist already; with ``max_epochs: 0`` the stage is not trained.
        vary: ``seed`` lets a teacher be trained once for each seed, too.
        trainer: arguments of Lightning's Trainer, the experiment's and on top its own.
        callbacks: class path and arguments of Lightning callbacks.
        combine: class path and arguments of what makes one teacher of several; the mean of their logits if left out.
        start: the stage whose finished weights this one's model starts from.
        cache: how much of this teacher's logits its students get: ``top_k`` of each sample, as ``float16``.
    """

    name: str
    module: dict[str, Any]
    teacher: str | tuple[str, ...] | None = None
    labelled: int | None = None
    monitor: str = "val/accuracy"
    weights: Path | None = None
    vary: str | None = None
    trainer: dict[str, Any] | None = None
    callbacks: tuple[dict[str, Any], ...] = ()
    combine: dict[str, Any] | None = None
    start: str | None = None
    cache: dict[str, Any] | None = None

    @property
    def teachers(self) -> tuple[str, ...]:
        """The stages that teach it, none, one or several."""
        return (self.teacher,) if isinstance(self.teacher, str) else tuple(self.teacher or ())

    @property
    def needed(self) -> tuple[str, ...]:
        """The stages that must be finished before this one: its teachers, and the one it starts from."""
        return tuple(dict.fromkeys((*self.teachers, *([] if self.start is None else [self.start]))))


STAGE = tuple(field.name for field in fields(StageConfig) if field.name != "name")


@dataclass(frozen=True)
class Outline:
    """What the file's form alone says: name, seeds, and the stages in the order in which they need each other."""

    name: str
    seeds: list[int]
    stages: dict[str, StageConfig]
    probe: int
    every: int | None


def outline(document: Document) -> Outline:
    """Check the form of an experiment.

    Raises:
        ConfigurationError: If a key is unknown, missing or of the wrong form, or stages teach each other in a circle.
    """
    content = document.content
    known_keys(document, (), content, TOP, "an experiment")
    for key in ("data", "stages"):
        if key not in content:
            raise document.error((), f"the experiment has no {key!r}; it needs data and stages")
    a_class(document, ("data",), content["data"])
    mapping(document, ("trainer",), content.get("trainer") or {})
    evaluate = mapping(document, ("evaluate",), content.get("evaluate") or {})
    known_keys(document, ("evaluate",), evaluate, EVALUATE, "evaluate")
    for key in ("metrics", "maps"):
        mapping(document, ("evaluate", key), evaluate.get(key) or {})
    mapping(document, ("quick",), content.get("quick") or {})
    stages = mapping(document, ("stages",), content["stages"])
    if not stages:
        raise document.error(("stages",), "there is no stage; name at least one, with its module")
    name = content.get("name", document.path.name.split(".")[0])
    if not isinstance(name, str) or not name.strip() or any(sign in name for sign in "/\\\n"):
        raise document.error(("name",), f"expected a name without slashes, got {name!r}")
    _check_length(document, ("name",), name)
    return Outline(
        name,
        _seeds(document, content.get("seeds", [0])),
        _ordered(document, {key: _stage(document, key, stage, stages) for key, stage in stages.items()}),
        count(document, ("evaluate", "probe"), evaluate.get("probe", 32), 1),
        None if evaluate.get("every") is None else count(document, ("evaluate", "every"), evaluate["every"], 1),
    )


def check_stage_names(outlined: Outline, names: Iterable[str], option: str) -> None:
    """Refuse a stage name of the command line that the experiment does not have."""
    for name in names:
        if name not in outlined.stages:
            raise ConfigurationError(
                f"{option} {name}: {outlined.name} has no stage {name!r}{suggestion(name, outlined.stages)}; "
                f"it has {listing(outlined.stages)}"
            )


def _check_length(document: Document, keys: Keys, name: str) -> None:
    length = len(name.encode())
    if length > LONGEST:
        raise document.error(keys, f"the name {name[:20]!r}… has {length} bytes, and files and MLflow take {LONGEST}")


def _stage(document: Document, name: str, stage: Any, names: Mapping[str, Any]) -> StageConfig:  # noqa: ANN401  any YAML
    keys: Keys = ("stages", name)
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in (*TOP, "seed"):
        raise document.error(
            keys, f"{name!r} cannot name a stage; take letters, digits, - and _, and none of {listing(TOP)}"
        )
    _check_length(document, keys, name)
    known_keys(document, keys, mapping(document, keys, stage), STAGE, f"stage {name!r}")
    if "module" not in stage:
        raise document.error(keys, f"stage {name!r} has no module, such as Supervised, Distilled or Joint")
    a_class(document, (*keys, "module"), stage["module"])
    callbacks = stage.get("callbacks") or []
    if not isinstance(callbacks, list):
        raise document.error((*keys, "callbacks"), f"expected a list of classes, got {callbacks!r}")
    vary = stage.get("vary")
    if vary not in (None, "seed"):
        raise document.error((*keys, "vary"), f"expected seed or nothing, got {vary!r}")
    monitor = stage.get("monitor", StageConfig.monitor)
    if not isinstance(monitor, str) or not monitor.startswith("val/"):
        raise document.error(
            (*keys, "monitor"),
            f"expected a validation metric such as val/accuracy, got {monitor!r}; test is touched once",
        )
    labelled = stage.get("labelled")
    trainer = {
        **mapping(document, ("trainer",), document.content.get("trainer") or {}),
        **mapping(document, (*keys, "trainer"), stage.get("trainer") or {}),
    }
    return StageConfig(
        name,
        stage["module"],
        _teacher(document, name, stage.get("teacher"), names),
        None if labelled is None else count(document, (*keys, "labelled"), labelled, 1),
        monitor,
        _weights(document, (*keys, "weights"), stage.get("weights")),
        vary,
        trainer,
        tuple(callbacks),
        _combine(document, keys, stage),
        _start(document, name, stage, names),
        _cache(document, (*keys, "cache"), stage.get("cache")),
    )


def _teacher(document: Document, name: str, teacher: Any, names: Mapping[str, Any]) -> str | tuple[str, ...] | None:  # noqa: ANN401  any YAML
    keys: Keys = ("stages", name, "teacher")
    teachers = teacher if isinstance(teacher, list) else [] if teacher is None else [teacher]
    if teacher == []:
        raise document.error(keys, "the list of teachers is empty; name a stage, or leave teacher out")
    for other in teachers:
        if not isinstance(other, str):
            raise document.error(keys, f"expected a stage's name, got {other!r}; the teacher is a stage of its own")
        if other not in names:
            possible = [stage for stage in names if stage != name]
            raise document.error(
                keys, f"there is no stage {other!r}{suggestion(other, possible)}; there is {listing(possible)}"
            )
    if len(set(teachers)) < len(teachers):
        raise document.error(keys, f"a stage teaches twice in {teachers}; name each once")
    return tuple(teachers) if isinstance(teacher, list) else teacher


def _combine(document: Document, keys: Keys, stage: Mapping[str, Any]) -> dict[str, Any] | None:
    combine: dict[str, Any] | None = stage.get("combine")
    if combine is None:
        return None
    if not isinstance(stage.get("teacher"), list):
        raise document.error((*keys, "combine"), "combine makes one teacher of several; name them, as teacher: [a, b]")
    a_class(document, (*keys, "combine"), combine)
    return combine


def _start(document: Document, name: str, stage: Mapping[str, Any], names: Mapping[str, Any]) -> str | None:
    start: str | None = stage.get("start")
    if start is None:
        return None
    keys: Keys = ("stages", name, "start")
    if start not in names or start == name:
        others = [other for other in names if other != name]
        raise document.error(
            keys, f"there is no other stage {start!r}{suggestion(str(start), others)}; there is {listing(others)}"
        )
    if stage.get("weights") is not None:
        raise document.error(keys, "start and weights both say where the weights come from; drop one of them")
    return start


def _cache(document: Document, keys: Keys, cache: Any) -> dict[str, Any] | None:  # noqa: ANN401  any YAML
    if cache is None:
        return None
    known_keys(document, keys, mapping(document, keys, cache), ("top_k", "dtype"), "cache")
    if cache.get("top_k") is not None:
        count(document, (*keys, "top_k"), cache["top_k"], 1)
    if cache.get("dtype") not in (None, "float16", "float32"):
        raise document.error((*keys, "dtype"), f"expected float16 or float32, got {cache['dtype']!r}")
    return {name: value for name, value in cache.items() if value is not None} or None


def _weights(document: Document, keys: Keys, weights: Any) -> Path | None:  # noqa: ANN401  any YAML
    if weights is None:
        return None
    if not isinstance(weights, str):
        raise document.error(keys, f"expected the path of a file, got {weights!r}")
    if Path(weights).suffix not in (".safetensors", ".ckpt", ".pt", ".pth"):
        raise document.error(keys, f"expected a .safetensors, .ckpt, .pt or .pth file, got {weights!r}")
    places = [document.path.parent / weights, Path(weights)]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise document.error(keys, f"no file {weights!r}, looked for as {listing(map(str, dict.fromkeys(places)))}")
    return file


def _ordered(document: Document, stages: dict[str, StageConfig]) -> dict[str, StageConfig]:
    """The stages in the file's order, each behind those that it needs."""
    done: dict[str, StageConfig] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            raise document.error(
                ("stages", above[-1], "teacher"), f"stages need each other in a circle: {circle}; one must go first"
            )
        if name not in done:
            for needed in stages[name].needed:
                visit(needed, (*above, name))
            done[name] = stages[name]

    for name in stages:
        visit(name, ())
    return done


def _seeds(document: Document, seeds: Any) -> list[int]:  # noqa: ANN401  any YAML
    """A list of seeds; a single number is how many, counted from 0."""
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = list(range(count(document, ("seeds",), seeds, 1)))
    if not isinstance(seeds, list) or not seeds:
        raise document.error(("seeds",), f"expected a list of seeds such as [0, 1, 2], or how many, got {seeds!r}")
    checked = [count(document, ("seeds",), seed, 0) for seed in seeds]
    if len(set(checked)) < len(checked):
        raise document.error(("seeds",), f"a seed stands twice in {checked}; name each once")
    return checked
