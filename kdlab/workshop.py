"""What all stages of one execution share: the data, where each stage lives, and the teachers that are finished."""

import hashlib
from dataclasses import dataclass

import torch
from lightning.pytorch import LightningDataModule

from kdlab.data.base import DataModule
from kdlab.experiment import Experiment
from kdlab.options import Options
from kdlab.scoring import network_of
from kdlab.soft_labels import SoftLabels, gather
from kdlab.stage_folder import StageFolder
from kdlab.teacher import Ensemble, Teacher
from kdlab.training import Job, trained_module, user_errors


@dataclass(frozen=True)
class Planned:
    """A stage with one seed, where it lives and how it is tested.

    Args:
        stage, seed: which.
        folder: where it lives, by its fingerprint.
        evaluation: hash of how it is tested.
        needs: fingerprints of the teachers it needs.
    """

    stage: str
    seed: int
    folder: StageFolder
    evaluation: str
    needs: tuple[str, ...]

    @property
    def trained(self) -> bool:
        """Whether nothing is left to train."""
        return self.folder.done is not None

    @property
    def tested(self) -> bool:
        """Whether it was tested in this way."""
        return self.folder.test_results(self.evaluation) is not None


class Workshop:
    """What all stages of one execution share: the data, fingerprints, and the teachers that are finished."""

    def __init__(self, experiment: Experiment, options: Options) -> None:
        self.experiment, self.options = experiment, options
        self.stages = options.mlruns / "stages"
        with user_errors(f"data of {experiment.path.name}"):
            self.data: LightningDataModule = experiment.build_data()
            self.data.prepare_data()
            self.data.setup("fit")
        self.data_hash = self.data.content_hash() if isinstance(self.data, DataModule) else "unknown"
        self._teachers: dict[tuple[str, int], Teacher] = {}

    def fingerprint(self, stage: str, seed: int) -> str:
        """The address of everything that decides the outcome of a stage with this seed."""
        needs = {name: self.fingerprint(name, at) for name, at in self.teachers_of(stage, seed)}
        return self.experiment.fingerprint(stage, seed, needs)

    def teachers_of(self, stage: str, seed: int) -> list[tuple[str, int]]:
        """The stages that teach this one, each with the seed that it is taken from."""
        return list(self.experiment.needs(stage, seed).items())

    def reference_of(self, stage: str, seed: int) -> list[tuple[str, int]]:
        """The teachers that fidelity is measured against: the stage's own, or the only ones that others learn from."""
        own = self.teachers_of(stage, seed)
        if own:
            return own
        others = {tuple(s.teachers) for s in self.experiment.stages.values() if s.teachers}
        if len(others) != 1 or stage in next(iter(others)):
            return []
        borrower = next(s.name for s in self.experiment.stages.values() if s.teachers)
        return self.teachers_of(borrower, seed)

    def planned(self, stage: str, seed: int) -> Planned:
        """Where a stage lives and how it is tested."""
        reference = [self.fingerprint(*which) for which in self.reference_of(stage, seed)]
        told = ":".join([self.experiment.evaluation_hash(), *reference])
        return Planned(
            stage,
            seed,
            StageFolder(self.stages / self.fingerprint(stage, seed)),
            hashlib.sha256(told.encode()).hexdigest()[:12],
            tuple(self.fingerprint(*which) for which in self.teachers_of(stage, seed)),
        )

    def job(self, planned: Planned) -> Job:
        """All that training or testing a stage takes; its teachers must be finished."""
        stage, seed = planned.stage, planned.seed
        teacher = self.teacher(self.teachers_of(stage, seed))
        reference = teacher or self.teacher(self.reference_of(stage, seed))
        return Job(self.experiment, stage, seed, planned.folder, self.data, teacher, reference, self.options)

    def teacher(self, sources: list[tuple[str, int]]) -> Teacher | None:
        """The finished teacher, or the mean of several; None where there is none."""
        teachers = [self._one_teacher(stage, seed) for stage, seed in sources]
        if len(teachers) > 1:
            return Ensemble(teachers)
        return teachers[0] if teachers else None

    def _one_teacher(self, stage: str, seed: int) -> Teacher:
        if (stage, seed) not in self._teachers:
            planned = self.planned(stage, seed)
            module = trained_module(self.job(planned))
            teacher = Teacher(network_of(module))
            if isinstance(self.data, DataModule):
                teacher.soft_labels = self._soft_labels(planned, teacher, self.data)
            self._teachers[stage, seed] = teacher
        return self._teachers[stage, seed]

    def _soft_labels(self, planned: Planned, teacher: Teacher, data: DataModule) -> SoftLabels:
        """The teacher's logits on every sample, from the file in its folder if that is whole and its own."""
        owner = {"teacher": planned.folder.fingerprint, "data": self.data_hash}
        path = planned.folder.path / "soft_labels.npy"
        with planned.folder.locked():
            found = SoftLabels.load(path, owner)
            if found is not None:
                return found
            accelerator = torch.device("cuda") if self._on_gpu() else torch.device("cpu")
            teacher.to(accelerator)
            batches = data.every_batch()
            with torch.no_grad():
                pairs = ((batch["index"], teacher(batch["inputs"].to(accelerator))) for batch in batches)
                table = gather(pairs, data.samples)
            teacher.to("cpu")
            return SoftLabels.save(path, table, owner)

    def _on_gpu(self) -> bool:
        return self.options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def plan(experiment: Experiment, options: Options) -> list[Planned]:
    """Every stage and seed in the order in which it would run."""
    return plans(Workshop(experiment, options))


def plans(workshop: Workshop) -> list[Planned]:
    """Every stage and seed that was asked for, each behind the teachers that it learns from or is compared with."""
    experiment, options = workshop.experiment, workshop.options
    chosen: dict[str, None] = {}  # a set that keeps its order

    def choose(stage: str) -> None:
        for needed, _ in workshop.reference_of(stage, experiment.seeds_of(stage)[0]):
            choose(needed)
        chosen[stage] = None

    for stage in experiment.stages:
        if not options.only or stage in options.only:
            choose(stage)
    return [workshop.planned(stage, seed) for stage in chosen for seed in experiment.seeds_of(stage)]
