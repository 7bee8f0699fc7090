"""The form of an experiment file: its keys, its stages and who teaches whom, checked without importing torch."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kdlab.configuration.document import Document, Place
from kdlab.configuration.form_checks import check_keys, class_spec, count, mapping, optional_count, optional_mapping
from kdlab.errors import ConfigurationError, listing, suggestion

TOP = ("name", "seeds", "data", "trainer", "evaluate", "stages", "quick")
EVALUATE = ("explainer", "metrics", "probe", "every", "maps")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
#: The most bytes of a name: it is part of file names, which have at most 255, and of MLflow's keys, at most 250.
LONGEST = 100


@dataclass(frozen=True)
class StageConfig:
    """One stage as the file describes it; none of it is built.

    Args:
        name: its key in the file.
        module: class path and arguments of its LightningModule.
        teacher: the stage that teaches it, or the stages of an ensemble; None without a teacher.
        labelled: how many training samples keep their labels, drawn anew for each seed; None keeps all.
        monitor: the metric whose best epoch is kept.
        weights: a file with existing weights; with ``max_epochs: 0`` the stage is not trained.
        vary: ``seed`` trains a teacher once for each seed; None trains it once for all.
        trainer: arguments of Lightning's Trainer; the stage's own replace the experiment's.
        callbacks: class path and arguments of each Lightning callback.
        combine: class path and arguments of what makes one teacher of several; None takes the mean of their logits.
        start: the stage whose finished weights this one's model starts from.
        cache: which of this stage's logits its students get: with ``top_k`` only the largest of each sample, with
            ``dtype: float16`` in half precision; None gives all.
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
        """The stages that teach it: none, one or several."""
        return (self.teacher,) if isinstance(self.teacher, str) else tuple(self.teacher or ())

    @property
    def needed(self) -> tuple[str, ...]:
        """The stages that must be finished before this one: its teachers, and the one it starts from."""
        return tuple(dict.fromkeys((*self.teachers, *([] if self.start is None else [self.start]))))


STAGE = tuple(field.name for field in fields(StageConfig) if field.name != "name")


@dataclass(frozen=True)
class Outline:
    """What the form of a file alone says.

    Args:
        name: the experiment's name.
        seeds: the seeds that its stages are trained with.
        stages: the stages by name, each after those that it needs.
        probe: how many samples of a split are explained.
        every: explanations are scored at one validation in this many; None: as often as training can afford.
    """

    name: str
    seeds: list[int]
    stages: dict[str, StageConfig]
    probe: int
    every: int | None


def outline(document: Document) -> Outline:
    """Check the form of an experiment and return what it says.

    Raises:
        ConfigurationError: If a key is unknown, missing or of the wrong form, or stages need each other in a circle.
    """
    content = document.content
    check_keys(document.top, content, TOP, "an experiment")
    for key in ("data", "stages"):
        if key not in content:
            raise document.top.error(f"the experiment has no {key!r}; it needs data and stages")
    class_spec(document / "data")
    optional_mapping(document / "trainer")
    evaluate = document / "evaluate"
    check_keys(evaluate, optional_mapping(evaluate), EVALUATE, "evaluate")
    for place in (evaluate / "metrics", evaluate / "maps", document / "quick"):
        optional_mapping(place)
    stages = mapping(document / "stages")
    if not stages:
        raise (document / "stages").error("there is no stage; name at least one, with its module")
    name = content.get("name", document.path.name.split(".")[0])
    if not isinstance(name, str) or not name.strip() or any(sign in name for sign in "/\\\n"):
        raise (document / "name").error(f"expected a name without slashes, got {name!r}")
    _check_length(document / "name", name)
    seeds = _seeds(document / "seeds", content.get("seeds", [0]))
    ordered = _ordered(document / "stages", {stage: _stage(document, stage, stages) for stage in stages})
    probe = count(evaluate / "probe", optional_mapping(evaluate).get("probe", 32), 1)
    return Outline(name, seeds, ordered, probe, optional_count(evaluate / "every"))


def check_stage_names(outlined: Outline, names: Iterable[str], option: str) -> None:
    """Refuse a stage name of the command line that the experiment does not have.

    Args:
        outlined: the experiment's form.
        names: the names that were given.
        option: how the command line calls them, for the error.

    Raises:
        ConfigurationError: If there is no stage of one of the names.
    """
    for name in names:
        if name not in outlined.stages:
            raise ConfigurationError(
                f"{option} {name}: {outlined.name} has no stage {name!r}{suggestion(name, outlined.stages)}; "
                f"it has {listing(outlined.stages)}"
            )


def _check_length(place: Place, name: str) -> None:
    # File systems count bytes, and a letter such as ä has two.
    length = len(name.encode())
    if length > LONGEST:
        raise place.error(f"the name {name[:20]!r}… has {length} bytes, and files and MLflow take {LONGEST}")


def _stage(document: Document, name: str, names: Collection[str]) -> StageConfig:
    place = document / "stages" / name
    # An override begins with a stage or with a key of the experiment, so that no stage may be called like a key.
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in (*TOP, "seed"):
        raise place.error(f"{name!r} cannot name a stage; take letters, digits, - and _, and none of {listing(TOP)}")
    _check_length(place, name)
    stage = mapping(place)
    check_keys(place, stage, STAGE, f"stage {name!r}")
    if "module" not in stage:
        raise place.error(f"stage {name!r} has no module, such as Supervised, Distilled or Joint")
    callbacks = stage.get("callbacks") or []
    if not isinstance(callbacks, list):
        raise (place / "callbacks").error(f"expected a list of classes, got {callbacks!r}")
    vary = stage.get("vary")
    if vary not in (None, "seed"):
        raise (place / "vary").error(f"expected seed or nothing, got {vary!r}")
    monitor = stage.get("monitor", StageConfig.monitor)
    if not isinstance(monitor, str) or not monitor.startswith("val/"):
        raise (place / "monitor").error(
            f"expected a validation metric such as val/accuracy, got {monitor!r}; test is touched once"
        )
    return StageConfig(
        name=name,
        module=class_spec(place / "module"),
        trainer={**optional_mapping(document / "trainer"), **optional_mapping(place / "trainer")},
        teacher=_teacher(place / "teacher", [other for other in names if other != name], names),
        labelled=optional_count(place / "labelled"),
        monitor=monitor,
        weights=_weights(place / "weights"),
        vary=vary,
        callbacks=tuple(callbacks),
        combine=_combine(place / "combine", stage.get("teacher")),
        start=_start(place / "start", [other for other in names if other != name]),
        cache=_cache(place / "cache"),
    )


def _teacher(place: Place, others: Sequence[str], names: Collection[str]) -> str | tuple[str, ...] | None:
    teacher = place.value
    teachers = teacher if isinstance(teacher, list) else [] if teacher is None else [teacher]
    if teacher == []:
        raise place.error("the list of teachers is empty; name a stage, or leave teacher out")
    for stage in teachers:
        if not isinstance(stage, str):
            raise place.error(f"expected a stage's name, got {stage!r}; the teacher is a stage of its own")
        if stage not in names:  # a stage that names itself is refused later, as a circle
            raise place.error(f"there is no stage {stage!r}{suggestion(stage, others)}; there is {listing(others)}")
    if len(set(teachers)) < len(teachers):
        raise place.error(f"a stage teaches twice in {teachers}; name each once")
    return tuple(teachers) if isinstance(teacher, list) else teacher


def _combine(place: Place, teacher: Any) -> dict[str, Any] | None:  # noqa: ANN401  any YAML
    if place.value is None:
        return None
    if not isinstance(teacher, list):
        raise place.error("combine makes one teacher of several; name them, as teacher: [a, b]")
    return class_spec(place)


def _start(place: Place, others: Sequence[str]) -> str | None:
    start: str | None = place.value
    if start is not None and start not in others:
        raise place.error(
            f"there is no other stage {start!r}{suggestion(str(start), others)}; there is {listing(others)}"
        )
    if start is not None and (place.above / "weights").value is not None:
        raise place.error("start and weights both say where the weights come from; drop one of them")
    return start


def _cache(place: Place) -> dict[str, Any] | None:
    if place.value is None:
        return None
    cache = mapping(place)
    check_keys(place, cache, ("top_k", "dtype"), "cache")
    optional_count(place / "top_k")
    if cache.get("dtype") not in (None, "float16", "float32"):
        raise (place / "dtype").error(f"expected float16 or float32, got {cache['dtype']!r}")
    return {name: value for name, value in cache.items() if value is not None} or None


def _weights(place: Place) -> Path | None:
    weights = place.value
    if weights is None:
        return None
    if not isinstance(weights, str):
        raise place.error(f"expected the path of a file, got {weights!r}")
    if Path(weights).suffix not in (".safetensors", ".ckpt", ".pt", ".pth"):
        raise place.error(f"expected a .safetensors, .ckpt, .pt or .pth file, got {weights!r}")
    paths = [place.document.path.parent / weights, Path(weights)]
    file = next((path for path in paths if path.is_file()), None)
    if file is None:
        raise place.error(f"no file {weights!r}, looked for as {listing(map(str, dict.fromkeys(paths)))}")
    return file


def _ordered(place: Place, stages: dict[str, StageConfig]) -> dict[str, StageConfig]:
    """Return the stages in the file's order, but each after those that it needs."""
    done: dict[str, StageConfig] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            circle = " -> ".join((*above[above.index(name) :], name))
            raise (place / above[-1] / "teacher").error(
                f"stages need each other in a circle: {circle}; one must go first"
            )
        if name not in done:
            for needed in stages[name].needed:
                visit(needed, (*above, name))
            done[name] = stages[name]

    for name in stages:
        visit(name, ())
    return done


def _seeds(place: Place, seeds: Any) -> list[int]:  # noqa: ANN401  any YAML
    """Return the list of seeds; a single number says how many there are, counted from 0."""
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        seeds = list(range(count(place, seeds, 1)))
    if not isinstance(seeds, list) or not seeds:
        raise place.error(f"expected a list of seeds such as [0, 1, 2], or how many, got {seeds!r}")
    checked = [count(place, seed, 0) for seed in seeds]
    if len(set(checked)) < len(checked):
        raise place.error(f"a seed stands twice in {checked}; name each once")
    return checked
