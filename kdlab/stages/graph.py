"""The graph of an execution: a node for each stage with each seed, built once, which knows the nodes that it needs."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdlab.configuration.code import hash_of
from kdlab.configuration.experiment import Experiment
from kdlab.configuration.fingerprint import Fingerprints
from kdlab.records.stage_folder import StageFolder


@dataclass(frozen=True, eq=False)
class StageNode:
    """A stage with one seed, where it lives, and what it needs.

    Args:
        stage, seed: which.
        folder: where it lives, by its fingerprint.
        evaluation: hash of how it is tested.
        teachers: what it learns from.
        start: what its model starts from, or None.
        reference: the teachers that fidelity is measured against: its own, or the only ones that others learn from.
        compared_as: the stage whose teachers those are; it says how several become one. None without a reference.
    """

    stage: str
    seed: int
    folder: StageFolder
    evaluation: str
    teachers: "tuple[StageNode, ...]" = ()
    start: "StageNode | None" = None
    reference: "tuple[StageNode, ...]" = ()
    compared_as: str | None = None

    @property
    def fingerprint(self) -> str:
        """The hash of everything that decides its outcome."""
        return self.folder.fingerprint

    @property
    def needed(self) -> "tuple[StageNode, ...]":
        """The nodes that must be finished before this one is trained: its teachers, and what it starts from."""
        return self.teachers if self.start is None else (*self.teachers, self.start)

    @property
    def trained(self) -> bool:
        """Whether nothing is left to train."""
        return self.folder.done is not None

    @property
    def tested(self) -> bool:
        """Whether it was tested in this way, and its pictures were made."""
        folder = self.folder
        return folder.test_result(self.evaluation) is not None and folder.shown(self.evaluation) is not None


class Graph:
    """The nodes of an experiment.

    Args:
        experiment: whose stages they are.
        fingerprints: what decides their results, as it was when the execution began.
        data: digest of what the data hold; None where they are known by their settings alone.
        stages: the folder of all stage folders.
    """

    def __init__(self, experiment: Experiment, fingerprints: Fingerprints, data: str | None, stages: Path) -> None:
        self._experiment, self._fingerprints, self._data, self._stages = experiment, fingerprints, data, stages
        self._evaluation = fingerprints.evaluation()
        self._nodes: dict[tuple[str, int], StageNode] = {}

    def node(self, stage: str, seed: int) -> StageNode:
        """The node of a stage with this seed."""
        if (stage, seed) not in self._nodes:
            self._nodes[stage, seed] = self._built(stage, seed)
        return self._nodes[stage, seed]

    def plan(self, only: Collection[str] = ()) -> list[StageNode]:
        """The nodes of these stages, or of all, and all that they need or are compared with, in an order to run them.

        All seeds of a stage stand together, behind everything that they need, wherever that stands in the file.
        """
        chosen: dict[StageNode, None] = {}  # a set that keeps its order

        def choose(node: StageNode) -> None:
            for needed in (*node.reference, *node.needed):
                choose(needed)
            chosen[node] = None

        for stage in self._experiment.stages:
            if not only or stage in only:
                for seed in self._experiment.seeds_of(stage):
                    choose(self.node(stage, seed))
        positions = {stage: number for number, stage in enumerate(dict.fromkeys(node.stage for node in chosen))}
        return sorted(chosen, key=lambda node: positions[node.stage])

    def _built(self, stage: str, seed: int) -> StageNode:
        experiment = self._experiment
        teachers = self._taught_by(stage, seed)
        start = experiment.starts(stage, seed)
        started = None if start is None else self.node(*start)
        compared_as = self._compared_as(stage)
        reference = () if compared_as is None else self._taught_by(compared_as, seed)
        # What decides the teacher that it is compared with: fingerprints, and how several are combined.
        combination = None if compared_as is None else self._fingerprints.combination(compared_as)
        compared = [*(node.fingerprint for node in reference), *([] if combination is None else [hash_of(combination)])]
        fingerprint = self._fingerprints.stage(
            stage,
            seed=seed,
            needs={node.stage: node.fingerprint for node in (*teachers, *([] if started is None else [started]))},
            data=self._data,
            reference=compared,
        )
        evaluation = hashlib.sha256(":".join([self._evaluation, *compared]).encode()).hexdigest()[:12]
        folder = StageFolder(self._stages / fingerprint)
        return StageNode(stage, seed, folder, evaluation, teachers, started, reference, compared_as)

    def _taught_by(self, stage: str, seed: int) -> tuple[StageNode, ...]:
        return tuple(self.node(*which) for which in self._experiment.needs(stage, seed).items())

    def _compared_as(self, stage: str) -> str | None:
        """The stage itself where it has teachers; else the first that has the only ones, unless they need this one."""
        stages = self._experiment.stages
        if stages[stage].teachers:
            return stage
        taught = [name for name, config in stages.items() if config.teachers]
        if len({tuple(stages[name].teachers) for name in taught}) != 1 or stage in self._behind(
            stages[taught[0]].teachers
        ):
            return None
        return taught[0]

    def _behind(self, names: Sequence[str]) -> set[str]:
        """These stages and all that must be finished before them."""
        stages = self._experiment.stages
        return {*names, *(further for name in names for further in self._behind(stages[name].needed))}
