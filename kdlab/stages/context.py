"""What all stages of one execution share: the data, the graph of stages, and the finished teachers."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kdlab.configuration.code import hash_of
from kdlab.configuration.experiment import Experiment
from kdlab.data.adopted import Data, adopt_data
from kdlab.errors import StageError
from kdlab.modules.adopted import adopt_module
from kdlab.records.soft_labels import Cache, SoftLabels
from kdlab.records.weights import load_weights
from kdlab.stages.graph import Graph, StageNode
from kdlab.stages.options import Options
from kdlab.stages.seeded_stage import SeededStage, trained_module, user_errors
from kdlab.teacher import Ensemble, Teacher, teacher_of


class Context:
    """What all stages of one execution share.

    Args:
        experiment: the experiment as it was read.
        options: the options of this execution.
        before: the context of the previous execution in this process, such as a sweep's last trial. If its data are the
            same, the data and the loaded teachers are shared.
    """

    def __init__(self, experiment: Experiment, options: Options, before: "Context | None" = None) -> None:
        self.options = options
        # Loading the data may take long, and the files may change meanwhile: the fingerprints are read first.
        self._fingerprints = experiment.fingerprints(options.mlruns / "digests.json")
        self._fingerprints.look()
        settings = {"resolved": experiment.resolved["data"], **self._fingerprints.data(content_known=True)}
        self._data_settings = hash_of(settings)
        #: Teachers by fingerprint and by what their cache keeps: two trials may cache one teacher differently.
        self._teachers: dict[str, Teacher] = {}
        self.data: Data
        #: Digest of the data's content; None if only their settings are known.
        self.data_hash: str | None
        if before is not None and before._data_settings == self._data_settings:
            self.data, self.data_hash, self._teachers = before.data, before.data_hash, before._teachers
        else:
            with user_errors(f"data of {experiment.path.name}"):
                built = experiment.build_data()
                built.prepare_data()
                built.setup("fit")
                self.data = adopt_data(built)
                self.data_hash = self.data.content_hash()
        self.experiment = experiment.with_names(self.data.description.handed())
        self.graph = Graph(self.experiment, self._fingerprints, self.data_hash, options.mlruns / "stages")

    def plan(self) -> list[StageNode]:
        """Return the nodes that were asked for and all that they need, in an order in which they can be run."""
        return self.graph.plan(self.options.only)

    def seeded_stage(self, node: StageNode) -> SeededStage:
        """Return everything that is needed to train or test a node, whose teachers must be finished.

        Raises:
            StageError: If a file that the stage's fingerprint covers has changed since the command began.
        """
        self._refuse_changed(node.stage)
        reference = self.combined(node, [self.teacher(teacher) for teacher in node.reference])
        return SeededStage(
            self.experiment,
            node.stage,
            node.seed,
            node.folder,
            self.data,
            reference if node.teachers else None,
            reference,
            self.options,
            None if node.start is None else load_weights(node.start.folder.weights),
        )

    def combined(self, node: StageNode, teachers: Sequence[Teacher]) -> Teacher | None:
        """Return the teacher that a node learns from or is compared with; several are combined as its stage says."""
        if len(teachers) < 2 or node.compared_as is None:
            return teachers[0] if teachers else None
        combine = self.experiment.build_combination(node.compared_as)
        return Ensemble(teachers) if combine is None else Ensemble(teachers, combine)

    def _refuse_changed(self, stage: str) -> None:
        """Raise a StageError if the files that decide a stage's fingerprint have changed since the command began."""
        content = self.data_hash is not None
        if self._fingerprints.afresh().read_by(stage, content) != self._fingerprints.read_by(stage, content):
            raise StageError(
                f"stage {stage!r}: a file or module that it names was changed while this command ran, so its results "
                f"would bear a wrong fingerprint; start the command again, and what changed is trained afresh"
            )

    def teacher(self, node: StageNode) -> Teacher:
        """Return a finished node as a teacher, with its soft labels if the data number their samples."""
        key = f"{node.fingerprint} {self.experiment.stages[node.stage].cache or {}}"
        if key not in self._teachers:
            teacher = teacher_of(adopt_module(trained_module(self.seeded_stage(node))).model)
            if self.data.samples:
                teacher.soft_labels = self._soft_labels(node, teacher)
            self._teachers[key] = teacher
        return self._teachers[key]

    def _soft_labels(self, node: StageNode, teacher: Teacher) -> SoftLabels:
        """Return the teacher's logits of every sample, from the file in its folder; an invalid file is made anew."""
        owner = {"teacher": node.fingerprint, "data": str(self.data_hash)}
        cache = Cache(**(self.experiment.stages[node.stage].cache or {}))
        path = node.folder.path / ".".join(["soft_labels", *filter(None, [cache.name]), "npy"])
        # Another execution may be computing the same file.
        with node.folder.locked():
            labels = SoftLabels.load(path, owner, cache)
            if labels is not None:
                return labels
            gpu = self.options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
            device = torch.device("cuda" if gpu else "cpu")
            teacher.to(device)
            with torch.no_grad():
                labels = SoftLabels.write(
                    path, exact_logits(teacher, self.data, device), self.data.samples, owner, cache
                )
            teacher.to("cpu")
            return labels


def exact_logits(teacher: Teacher, data: Data, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``index`` and logits of every sample batch by batch; the teacher must be on the device."""
    for batch in data.every_batch():
        yield batch["index"], teacher.exact_logits({name: values.to(device) for name, values in batch.items()})


def plan(experiment: Experiment, options: Options) -> list[StageNode]:
    """Return the nodes of an experiment in an order in which they can be run."""
    return Context(experiment, options).plan()
