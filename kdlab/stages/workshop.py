"""What all stages of one execution share: the data, where each stage lives, and the teachers that are finished."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule

from kdlab.configuration.code import hash_of
from kdlab.configuration.experiment import Experiment
from kdlab.data.base import DataModule, Known
from kdlab.errors import StageError
from kdlab.records.soft_labels import Cache, SoftLabels
from kdlab.records.stage_folder import StageFolder
from kdlab.records.weights import load_weights
from kdlab.stages.job import Job, names_of, network_of, trained_module, user_errors
from kdlab.stages.options import Options
from kdlab.teacher import Ensemble, Teacher


@dataclass(frozen=True)
class Planned:
    """A stage with one seed, where it lives and how it is tested.

    Args:
        stage, seed: which.
        folder: where it lives, by its fingerprint.
        evaluation: hash of how it is tested.
        needs: fingerprints of the teachers it needs.
        start: fingerprint of the stage that it starts from, or None.
    """

    stage: str
    seed: int
    folder: StageFolder
    evaluation: str
    needs: tuple[str, ...]
    start: str | None = None

    @property
    def trained(self) -> bool:
        """Whether nothing is left to train."""
        return self.folder.done is not None

    @property
    def tested(self) -> bool:
        """Whether it was tested in this way, and its pictures were made."""
        folder = self.folder
        return folder.test_results(self.evaluation) is not None and folder.shown(self.evaluation) is not None


class Workshop:
    """What all stages of one execution share: the data, fingerprints, and the teachers that are finished."""

    def __init__(self, experiment: Experiment, options: Options, before: "Workshop | None" = None) -> None:
        self.experiment: Experiment
        self.options = options
        self.stages = options.mlruns / "stages"
        self.data: LightningDataModule
        #: Digest of what the data hold; None where they are known by their settings alone.
        self.data_hash: str | None
        self._teachers: dict[str, Teacher] = {}
        self._fingerprints: dict[tuple[str, int], str] = {}
        # Read before the data, which may take long, so that it is what this execution was started with.
        self._prints = experiment.fingerprints(options.mlruns / "digests.json")
        self._prints.look()
        self._evaluation = self._prints.evaluation()
        settings = {"resolved": experiment.resolved["data"], **self._prints.data(known=True)}
        self._data_settings = hash_of(settings)
        if before is not None and before._data_settings == self._data_settings:
            # A sweep's next trial: the same data, and teachers that are known by their fingerprints.
            self.data, self.data_hash, self._teachers = before.data, before.data_hash, before._teachers
            self.experiment = experiment.with_names(names_of(self.data))
            return
        with user_errors(f"data of {experiment.path.name}"):
            self.data = experiment.build_data()
            self.data.prepare_data()
            self.data.setup("fit")
            self.data_hash = self.data.content_hash() if isinstance(self.data, Known) else None
        self.experiment = experiment.with_names(names_of(self.data))

    def fingerprint(self, stage: str, seed: int) -> str:
        """The address of everything that decides the outcome of a stage with this seed, as it was at the start."""
        which = (stage, seed)
        if which not in self._fingerprints:
            needs = {name: self.fingerprint(name, at) for name, at in self.needed_by(stage, seed)}
            reference = self._compared_with(stage, seed) if self._prints.judge(stage).compares else []
            self._fingerprints[which] = self._prints.stage(
                stage, seed=seed, needs=needs, data=self.data_hash, reference=reference
            )
        return self._fingerprints[which]

    def _compared_with(self, stage: str, seed: int) -> list[str]:
        """What decides the teacher that a stage is compared with: fingerprints, and how several are combined."""
        lender = self._lender(stage)
        if lender is None:
            return []
        combination = self._prints.combination(lender)
        combined = [] if combination is None else [hash_of(combination)]
        return [*(self.fingerprint(*which) for which in self.reference_of(stage, seed)), *combined]

    def teachers_of(self, stage: str, seed: int) -> list[tuple[str, int]]:
        """The stages that teach this one, each with the seed that it is taken from."""
        return list(self.experiment.needs(stage, seed).items())

    def needed_by(self, stage: str, seed: int) -> list[tuple[str, int]]:
        """The stages that must be finished before this one: its teachers, and the one that it starts from."""
        start = self.experiment.starts(stage, seed)
        return [*self.teachers_of(stage, seed), *([] if start is None else [start])]

    def reference_of(self, stage: str, seed: int) -> list[tuple[str, int]]:
        """The teachers that fidelity is measured against: the stage's own, or the only ones that others learn from."""
        lender = self._lender(stage)
        return [] if lender is None else self.teachers_of(lender, seed)

    def _lender(self, stage: str) -> str | None:
        """The stage whose teachers are this one's reference: itself, or the first of those that share the only ones."""
        stages = self.experiment.stages
        if stages[stage].teachers:
            return stage
        others = {tuple(s.teachers) for s in stages.values() if s.teachers}
        if len(others) != 1 or stage in self._behind(next(iter(others))):
            return None
        return next(s.name for s in stages.values() if s.teachers)

    def _behind(self, names: Sequence[str]) -> set[str]:
        """These stages and all that must be finished before them."""
        stages = self.experiment.stages
        return {*names, *(further for name in names for further in self._behind(stages[name].needed))}

    def planned(self, stage: str, seed: int) -> Planned:
        """Where a stage lives and how it is tested."""
        told = ":".join([self._evaluation, *self._compared_with(stage, seed)])
        start = self.experiment.starts(stage, seed)
        return Planned(
            stage,
            seed,
            StageFolder(self.stages / self.fingerprint(stage, seed)),
            hashlib.sha256(told.encode()).hexdigest()[:12],
            tuple(self.fingerprint(*which) for which in self.teachers_of(stage, seed)),
            None if start is None else self.fingerprint(*start),
        )

    def job(self, planned: Planned) -> Job:
        """All that training or testing a stage takes; its teachers must be finished."""
        stage, seed = planned.stage, planned.seed
        self._refuse_changed(stage)
        finished = [self._one_teacher(*which) for which in self.reference_of(stage, seed)]
        reference = self.as_one(stage, finished)
        teacher = reference if self.teachers_of(stage, seed) else None
        at = self.experiment.starts(stage, seed)
        start = None if at is None else load_weights(self.planned(*at).folder.weights)
        return Job(self.experiment, stage, seed, planned.folder, self.data, teacher, reference, self.options, start)

    def _refuse_changed(self, stage: str) -> None:
        """A stage must not be built from other files than those that its fingerprint knows."""
        known = self.data_hash is not None
        if self._prints.afresh().read_by(stage, known) != self._prints.read_by(stage, known):
            raise StageError(
                f"stage {stage!r}: a file or module that it names was changed while this command ran, so its results "
                f"would bear a wrong fingerprint; start the command again, and what changed is trained afresh"
            )

    def as_one(self, stage: str, teachers: Sequence[Teacher]) -> Teacher | None:
        """The teacher that a stage is taught by or compared with; several are combined as the stage says."""
        if len(teachers) < 2:
            return teachers[0] if teachers else None
        combine = self.experiment.build_combination(self._lender(stage) or stage)
        return Ensemble(teachers) if combine is None else Ensemble(teachers, combine)

    def _one_teacher(self, stage: str, seed: int) -> Teacher:
        planned = self.planned(stage, seed)
        # Two trials of a sweep may keep different parts of what one teacher says.
        fingerprint = f"{planned.folder.fingerprint} {self.experiment.stages[stage].cache or {}}"
        if fingerprint not in self._teachers:
            module = trained_module(self.job(planned))
            teacher = Teacher(network_of(module))
            if isinstance(self.data, DataModule):
                teacher.soft_labels = self._soft_labels(planned, teacher, self.data)
            self._teachers[fingerprint] = teacher
        return self._teachers[fingerprint]

    def _soft_labels(self, planned: Planned, teacher: Teacher, data: DataModule) -> SoftLabels:
        """The teacher's logits on every sample, from the file in its folder if that is whole and its own."""
        owner = {"teacher": planned.folder.fingerprint, "data": str(self.data_hash)}
        cache = Cache(**(self.experiment.stages[planned.stage].cache or {}))
        path = planned.folder.path / ".".join(["soft_labels", *filter(None, [cache.name]), "npy"])
        with planned.folder.locked():
            found = SoftLabels.load(path, owner, cache)
            if found is not None:
                return found
            accelerator = torch.device("cuda") if self._on_gpu() else torch.device("cpu")
            teacher.to(accelerator)
            batches = data.every_batch()
            with torch.no_grad():
                pairs = ((batch["index"], teacher(batch["inputs"].to(accelerator))) for batch in batches)
                found = SoftLabels.write(path, pairs, data.samples, owner, cache)
            teacher.to("cpu")
            return found

    def _on_gpu(self) -> bool:
        return self.options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def plan(experiment: Experiment, options: Options) -> list[Planned]:
    """Every stage and seed in the order in which it would run."""
    return plans(Workshop(experiment, options))


def plans(workshop: Workshop) -> list[Planned]:
    """Every stage and seed that was asked for, each behind the teachers that it learns from or is compared with."""
    experiment, options = workshop.experiment, workshop.options
    chosen: dict[tuple[str, int], None] = {}  # a set that keeps its order

    def choose(stage: str, seed: int) -> None:
        for needed in [*workshop.reference_of(stage, seed), *workshop.needed_by(stage, seed)]:
            choose(*needed)
        chosen[stage, seed] = None

    for stage in experiment.stages:
        if not options.only or stage in options.only:
            for seed in experiment.seeds_of(stage):
                choose(stage, seed)
    # In the order in which they were chosen they stand behind all that they need and are compared with, wherever that
    # stands in the file; so all seeds of one may stand together.
    places: dict[str, int] = {}
    for stage, _ in chosen:
        places.setdefault(stage, len(places))
    return [workshop.planned(*which) for which in sorted(chosen, key=lambda which: places[which[0]])]
