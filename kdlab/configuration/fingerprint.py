"""Fingerprints: twenty hex digits that change with whatever decides a result; CONTRIBUTING.md has the whole table."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlab.configuration.calls import Call, Value, as_json
from kdlab.configuration.code import code_of, hash_of
from kdlab.configuration.contents import Contents
from kdlab.configuration.digested_values import ValueDigests, module_of, modules_of
from kdlab.signals.vocabulary import Asked

if TYPE_CHECKING:
    from kdlab.configuration.experiment_check import CheckedExperiment

#: A part of every fingerprint: another number makes every stage train again.
FORMAT = 2


@dataclass(frozen=True)
class Judge:
    """The metric that chooses the best epoch of a stage.

    Args:
        metric: the metric as the file defines it; None for a standard one.
        takes: its renamed signals.
        explains: whether it scores explanations.
        compares: whether it compares with a teacher.
    """

    metric: Call | None
    takes: Mapping[str, str]
    explains: bool
    compares: bool


class Fingerprints:
    """The fingerprints of a checked experiment's stages, data and evaluation.

    Args:
        checked: the experiment.
        contents: digests of the files that it names.
    """

    def __init__(self, checked: "CheckedExperiment", contents: Contents) -> None:
        self._checked = checked
        self._values = ValueDigests(Path.cwd(), checked.document.path.parent.resolve(), contents)
        self._kept: dict[str, dict[str, Any]] = {}

    def afresh(self) -> "Fingerprints":
        """Return fingerprints of the same experiment that read every file again."""
        return Fingerprints(self._checked, self._values.contents.afresh())

    def look(self) -> None:
        """Read everything that the experiment names, so that later changes of files cannot enter these fingerprints."""
        self.data(content_known=True)
        for stage in self._checked.outline.stages:
            self._of_stage(stage)

    def read_by(self, stage: str, content_known: bool) -> str:
        """Return a digest of what is read to build and to test a stage.

        Files that its callbacks and its Trainer name do not count, because they may be written while the stage is
        trained.

        Args:
            stage: its name.
            content_known: whether a digest of the data's content is known; see ``data``.
        """
        own = {name: part for name, part in self._of_stage(stage).items() if name not in ("callbacks", "trainer")}
        return hash_of({"data": self.data(content_known), "evaluation": self.evaluation(), **own})

    def stage(self, stage: str, **decided: Any) -> str:  # noqa: ANN401  JSON, as parts takes it
        """Return twenty hex digits that change exactly when the stage's result may.

        The arguments are those of ``parts``.
        """
        return hash_of(self.parts(stage, **decided))

    def parts(
        self, stage: str, *, seed: int, needs: Mapping[str, str], data: str | None, reference: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return all that decides the stage's result, as JSON.

        Args:
            stage: its name, which does not itself count.
            seed: its seed.
            needs: by stage, the fingerprints of the stages that teach it and of the one that it starts from.
            data: the digest of what the data module holds; None if only its settings are known.
            reference: what identifies the teachers that a stage without teachers is compared with. It counts only if
                the metric that ``monitor`` names compares with them.
        """
        config = self._checked.outline.stages[stage]
        kept = [self._kept_of(teacher) for teacher in config.teachers]
        return {
            # Students see only what their teacher's cache keeps; the teacher itself is trained the same with any cache.
            **({"cache": kept} if any(kept) else {}),
            "format": FORMAT,
            "seed": seed,
            "data": {"content": data, **self.data(content_known=data is not None)},
            **self._of_stage(stage),
            "needs": [needs[teacher] for teacher in config.teachers],
            "start": None if config.start is None else needs[config.start],
            "reference": list(reference) if self.judge(stage).compares and not config.teachers else [],
        }

    def _kept_of(self, teacher: str) -> dict[str, Any] | None:
        """Return how a teacher's cache reduces its logits; None if it keeps them whole."""
        cache = self._checked.outline.stages[teacher].cache or {}
        return cache if "top_k" in cache or cache.get("dtype") == "float16" else None

    def data(self, content_known: bool) -> dict[str, Any]:
        """Return the data module's class, settings and code as JSON.

        If the content of one of kdlab's own data modules is known, the files that it reads do not count, and may be
        moved.

        Args:
            content_known: whether a digest of what the data module holds is known.
        """
        call = self._checked.data
        read = [name for name, node in call.arguments.items() if self._is_path(node)]
        left_out = read if content_known and module_of(call).startswith("kdlab.data.") else []
        return {"class": call.class_path, **self._values.arguments(call, left_out), "code": self._code([call])}

    def combination(self, stage: str) -> dict[str, Any] | None:
        """Return what makes one teacher of several for a stage, as JSON; None if the file does not say."""
        node = self._checked.stages[stage].combine
        return None if node is None else {"combine": self._values.of(node), "code": self._code([node])}

    def evaluation(self) -> str:
        """Return twenty hex digits that change when what a test computes does; they depend on no stage and no data.

        A test is kept in its stage's folder, whose name depends on the content of all splits. ``every`` does not count,
        because a test is the same whatever was computed at validation.
        """
        evaluation = self._checked.evaluation
        nodes: list[Value] = [*evaluation.metrics.values()]
        nodes += [] if evaluation.explainer is None else [evaluation.explainer]
        return hash_of(
            {
                "format": FORMAT,
                "explainer": None if evaluation.explainer is None else self._values.of(evaluation.explainer),
                "metrics": {name: self._values.of(node) for name, node in evaluation.metrics.items()},
                "takes": evaluation.takes,
                "left_out": sorted(evaluation.left_out),
                "probe": self._checked.outline.probe,
                "maps": evaluation.maps,
                "code": self._code(nodes),
            }
        )

    def judge(self, stage: str) -> Judge:
        """Return the metric that chooses the stage's epoch, with what it asks for."""
        evaluation, name = self._checked.evaluation, self._checked.outline.stages[stage].monitor.removeprefix("val/")
        from kdlab.callbacks.measure import EXPLAINING

        standard = {name: signals for name, signals in _standard().items() if name not in evaluation.left_out}
        # A metric that computes several values logs them as ``name/part``.
        named = name if name in evaluation.metrics or name in standard else name.rpartition("/")[0]
        metric, takes = evaluation.metrics.get(named), evaluation.takes.get(named, {})
        # A name that no metric logs is refused when the stage is built; here it asks for nothing.
        signals = standard.get(named, frozenset()) if metric is None else _asked(metric, takes)
        compares = any(signal.startswith("teacher") for signal in signals)
        return Judge(metric, takes, bool(signals & EXPLAINING), compares)

    def _of_stage(self, stage: str) -> dict[str, Any]:
        """Return the part of a stage's fingerprint that is the same for all seeds, computed once."""
        if stage not in self._kept:
            checked, config = self._checked, self._checked.outline.stages[stage]
            classes, trainer = checked.stages[stage], checked.trainer_of(stage)
            # Callbacks and the Trainer may write into a folder that they are given, so what it holds does not count.
            shallow = ValueDigests(self._values.here, self._values.folder, self._values.contents, through=False)
            weights = config.weights
            self._kept[stage] = {
                "module": self._values.of(classes.module),
                "combine": self.combination(stage),
                "labelled": config.labelled,
                "monitor": config.monitor,
                "judge": self._of_judge(self.judge(stage)),
                "weights": None if weights is None else self._values.contents.of(weights),
                "callbacks": [shallow.of(callback) for callback in classes.callbacks],
                "trainer": {name: shallow.of(node) for name, node in trainer.items()},
                "code": self._code([classes.module, *classes.callbacks, *trainer.values()]),
            }
        return self._kept[stage]

    def _of_judge(self, judge: Judge) -> dict[str, Any]:
        evaluation = self._checked.evaluation
        nodes = [] if judge.metric is None else [judge.metric]
        explainer = evaluation.explainer if judge.explains else None
        nodes += [] if explainer is None else [explainer]
        return {
            "metric": None if judge.metric is None else self._values.of(judge.metric),
            "takes": dict(judge.takes),
            "explainer": None if explainer is None else self._values.of(explainer),
            "probe": self._checked.outline.probe if judge.explains else None,
            "code": self._code(nodes),
        }

    def _is_path(self, value: Value) -> bool:
        text = as_json(value)
        return isinstance(text, str) and bool(self._values.paths(text))

    def _code(self, nodes: Iterable[Value]) -> dict[str, str]:
        return code_of((name for node in nodes for name in modules_of(node)), self._values.folders)


def _asked(metric: Call, takes: Mapping[str, str]) -> frozenset[str]:
    """Return the signals that a metric asks for; the metric is built only if a function makes it."""
    made: Any = metric.target if inspect.isclass(metric.target) else metric.build()
    return Asked(made.update, takes).names()


@lru_cache(maxsize=1)
def _standard() -> dict[str, frozenset[str]]:
    """Return the signals that each standard metric of a validation asks for, by the metric's name."""
    from kdlab.callbacks.standard import standard_measures

    measures = standard_measures(2, teacher=True, explains=True, explainer=True, mask=True)
    return {name: measure.ask.names() for name, measure in measures.items() if not measure.at_test}
