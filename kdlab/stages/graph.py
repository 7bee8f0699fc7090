"""The graph of an execution: one node for each stage with each seed, which knows the nodes that it needs."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdlab.configuration.code import hash_of
from kdlab.configuration.experiment import Experiment
from kdlab.configuration.fingerprint import Fingerprints
from kdlab.records.stage_folder import StageFolder


# Each node is built once, so nodes are compared by identity.
@dataclass(frozen=True, eq=False)
class StageNode:
    """A stage with one seed, its folder, and the nodes that it needs.

    Args:
        stage, seed: the stage's name and its seed.
        folder: its folder, which is named by its fingerprint.
        evaluation: the hash of how it is tested.
        teachers: the nodes that it learns from.
        start: the node whose weights its model starts from, or None.
        reference: the teachers that fidelity is measured against: its own, or else the only ones in the experiment.
        compared_as: the stage whose teachers those are, and that says how to combine several; None without a reference.
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
        """The nodes that must be finished before this one is trained: its teachers, and the one it starts from."""
        return self.teachers if self.start is None else (*self.teachers, self.start)

    @property
    def trained(self) -> bool:
        """Whether its training is finished."""
        return self.folder.done is not None

    @property
    def tested(self) -> bool:
        """Whether it was tested under its evaluation and its pictures were made."""
        folder = self.folder
        return folder.test_result(self.evaluation) is not None and folder.shown(self.evaluation) is not None


class Graph:
    """The nodes of an experiment.

    Args:
        experiment: the experiment whose stages they are.
        fingerprints: everything that decides the results, as it was when the execution began.
        data: digest of the data's content; None if only their settings are known.
        stages: the folder of all stage folders.
    """

    def __init__(self, experiment: Experiment, fingerprints: Fingerprints, data: str | None, stages: Path) -> None:
        self._experiment, self._fingerprints, self._data, self._stages = experiment, fingerprints, data, stages
        self._evaluation = fingerprints.evaluation()
        self._nodes: dict[tuple[str, int], StageNode] = {}

    def node(self, stage: str, seed: int) -> StageNode:
        """Return the node of a stage with this seed."""
        if (stage, seed) not in self._nodes:
            self._nodes[stage, seed] = self._built(stage, seed)
        return self._nodes[stage, seed]

    def plan(self, only: Collection[str] = ()) -> list[StageNode]:
        """Return the nodes of these stages, or of all, and all that they need or are compared with, in running order.

        All seeds of a stage stand together, after everything that they need, whatever the order in the file.
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
        # The teacher that it is compared with depends on fingerprints and on how several are combined.
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
        """Return the stage whose teachers this one is compared with: itself if it has any.

        Otherwise it is the first stage that has some, if all such stages have the same and these do not need this one;
        else None.
        """
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
        """Return these stages and all that must be finished before them."""
        stages = self._experiment.stages
        return {*names, *(further for name in names for further in self._behind(stages[name].needed))}
