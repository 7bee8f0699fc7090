"""One stage with one seed: its module, its data, how it is scored, and what is refused before it trains."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from kdlab.callbacks.evaluate import Evaluate
from kdlab.callbacks.measure import Measure
from kdlab.callbacks.standard import standard_measures
from kdlab.configuration.experiment import Experiment, StageConfig
from kdlab.data.adopted import Data
from kdlab.data.batches import first_batch
from kdlab.errors import ConfigurationError, StageError
from kdlab.modules.adopted import StageModule, adopt_module
from kdlab.randomness import address, forked
from kdlab.records.stage_folder import StageFolder
from kdlab.records.weights import classes_in, load_weights
from kdlab.signals.outputs import check_class_order, logits_of, shape_of_logits
from kdlab.stages.maps import check_maps
from kdlab.stages.options import Options
from kdlab.teacher import Teacher


@dataclass
class SeededStage:
    """One stage with one seed, and what it needs.

    Args:
        experiment: the experiment as it was read.
        stage: the stage's name.
        seed: decides initial weights, order and labelled subset.
        folder: the stage's folder.
        data: the experiment's data, shared by all stages.
        teacher: the stage's own teacher, or None.
        reference: the teacher that fidelity is measured against: the stage's own, or the experiment's only one.
        options: the options of the execution.
        start: the finished weights of the stage that this one starts from, or None.
    """

    experiment: Experiment
    stage: str
    seed: int
    folder: StageFolder
    data: Data
    teacher: Teacher | None = None
    reference: Teacher | None = None
    options: Options = field(default_factory=Options)
    start: Mapping[str, Tensor] | None = None

    def arranged_data(self, module: lightning.LightningModule) -> Data:
        """Return the data in this seed's order, with this stage's labels."""
        labelled = self.experiment.stages[self.stage].labelled
        with user_errors(f"stage {self.stage!r}"):
            return self.data.arranged(self.seed, labelled, transfer=adopt_module(module).uses_unlabelled)

    @property
    def class_names(self) -> list[str] | None:
        """The data's own names of their classes; None if they only number them."""
        return self.data.description.own_class_names

    def build(self) -> lightning.LightningModule:
        """Return the stage's module: the model is seeded by (seed, "model"), everything else by (seed, "explainer")."""
        with forked(address(self.seed, "model")):
            model = self.experiment.build_model(self.stage)
        start = self.experiment.stages[self.stage].weights
        if start is not None:
            class_names = classes_in(start)
            if class_names is not None and self.class_names is not None:
                with user_errors(f"stage {self.stage!r}"):
                    check_class_order(class_names, self.class_names, f"who trained the weights {start}")
            put(model, load_weights(start), f"weights {start}")
        if self.start is not None:
            put(model, dict(self.start), f"the weights of stage {self.experiment.stages[self.stage].start!r}")
        with forked(address(self.seed, "explainer")):
            module = self.experiment.build_module(self.stage, model, self.teacher)
            self.prepare(module)
        return module

    def prepare(self, module: lightning.LightningModule) -> None:
        """Run one batch through the module, so that what does not fit is refused before anything trains.

        Raises:
            StageError: If the module, the data, the teacher and the evaluation do not fit each other.
        """
        stage, adopted = self.experiment.stages[self.stage], adopt_module(module)
        if adopted.frozen:
            self._check_frozen(stage)
        adopted.take_baseline(self.data.description)
        batch = first_batch(self.arranged_data(module).lightning)
        with user_errors(f"stage {self.stage!r}"):
            if adopted.has_terms:
                self._check_trainable(adopted, module.parameters())
                # Two samples are enough to compare shapes.
                self._check_classes(adopted, {name: rows[:2] for name, rows in batch.items()})
                if self.experiment.maps and self.reference is not None:
                    check_maps(adopted.model, self.reference, batch["inputs"][:2], self.experiment.maps)
            adopted.prepare(batch)
            evaluate = self.evaluate(module)
            evaluate.check(module, batch)
            direction(stage.monitor, evaluate)

    def _check_trainable(self, module: StageModule, parameters: Iterable[nn.Parameter]) -> None:
        arguments = self.experiment.trainer_arguments(self.stage)
        every, epochs = arguments.get("check_val_every_n_epoch") or 1, arguments.get("max_epochs")
        if not module.by_gradients:
            if epochs == 0 and self.experiment.stages[self.stage].weights is None:
                raise StageError(
                    f"stage {self.stage!r}: {type(module.model).__name__} needs one epoch, and max_epochs: 0 would "
                    f"leave it as it is; drop trainer.max_epochs, or name its weights"
                )
            return
        if epochs is not None and 0 < epochs < every:
            raise StageError(
                f"stage {self.stage!r} trains {epochs} epochs and validates every {every}: no epoch could be chosen; "
                f"lower trainer.check_val_every_n_epoch or raise max_epochs"
            )
        if epochs != 0 and not any(parameter.requires_grad for parameter in parameters):
            raise StageError(
                f"stage {self.stage!r}: {type(module.model).__name__} has no parameters to train; "
                f"set trainer: {{max_epochs: 0}} to take it as it is"
            )

    def _check_classes(self, module: StageModule, batch: Mapping[str, Tensor]) -> None:
        """Raise a StageError if the student or the teacher has another number of classes than the data."""
        classes = self.data.description.classes
        if classes is None:
            return
        shapes: dict[str, tuple[int, ...]] = {}
        if module.explainable:  # a recorded teacher's classes were compared with the data's when it was made
            own = f"its model ({type(module.model).__name__})"
            shapes[own] = shape_of_logits(module.model, batch["inputs"], "its model")
        if self.teacher is not None:
            shapes[f"its teacher ({type(self.teacher.network).__name__})"] = tuple(
                self.teacher.exact_logits(batch).shape
            )
        for name, shape in shapes.items():
            if len(shape) != 2 or shape[1] != classes:
                raise StageError(
                    f"stage {self.stage!r}: {name} gives outputs of shape {shape}, "
                    f"the data have {classes} classes: (batch, {classes}) is needed"
                )

    def _check_frozen(self, stage: StageConfig) -> None:
        if stage.start is None and stage.weights is None:
            raise StageError(f"stage {self.stage!r} freezes an untrained student; name its stage, as start: STAGE")
        if not stage.monitor.startswith("val/explainer/"):
            raise StageError(
                f"stage {self.stage!r} freezes its student, so {stage.monitor} is the same in all epochs and would "
                f"choose the first; take monitor: val/explainer/agreement"
            )

    def evaluate(self, module: lightning.LightningModule) -> Evaluate:
        """Return the callback that scores this stage in the same way as every other."""
        adopted, description, reference = adopt_module(module), self.data.description, self.reference
        explainer = self.experiment.build_explainer_factory() if adopted.explainable else None
        measures: dict[str, Any] = standard_measures(
            self._outputs(module) if description.classes is None else description.classes,
            teacher=reference is not None,
            explains=explainer is not None,
            explainer=adopted.learned_explainer is not None,
            mask=description.masked,
            explains_teacher=reference is not None and reference.explainable,
            tokens=description.vocabulary is not None,
        )
        measures = {name: m for name, m in measures.items() if name not in self.experiment.left_out}
        takes = self.experiment.metric_takes()
        own = {name: Measure(m, takes.get(name, {})) for name, m in self.experiment.build_metrics().items()}
        compared = {name for name, m in own.items() if any(n.startswith("teacher") for n in m.ask.needed.values())}
        # Without a teacher these cannot be computed; the standard ones are left out for the same reason.
        measures |= {
            name: m
            for name, m in own.items()
            if (reference is not None or name not in compared) and (adopted.explainable or not m.explaining)
        }
        every = self.experiment.every
        chosen_by = monitored(self.experiment.stages[self.stage].monitor, measures)
        if every is None and chosen_by is not None and chosen_by.explaining:
            every = 1  # the monitor must have a value in each epoch from which one is chosen
        return Evaluate(measures, explainer, self.experiment.probe, teacher=reference, every=every)

    @torch.no_grad()
    def _outputs(self, module: lightning.LightningModule) -> int:
        """Return how many classes the module distinguishes, for data that do not say how many there are."""
        return int(logits_of(module.eval()(first_batch(self.data.lightning)["inputs"][:1])).shape[1])


def trained_module(seeded: SeededStage) -> lightning.LightningModule:
    """Return the stage's module with its final weights, in eval mode."""
    module = seeded.build()
    weights = load_weights(seeded.folder.weights)
    # The file lacks parts of losses, which are not kept after training.
    put(module, {**module.state_dict(), **weights}, f"the weights in {seeded.folder.path.name}")
    return module.eval()


def put(module: torch.nn.Module, weights: dict[str, Tensor], origin: str) -> None:
    """Load weights that must match every name and shape; prefixes that Lightning adds are removed if needed.

    Raises:
        StageError: If the weights do not fit; the message names them by ``origin``.
    """
    names = set(module.state_dict())
    for prefix in ("", "model.", "module.", "network."):
        cut = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        if set(cut) == names:
            weights = cut
            break
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise StageError(f"{origin} do not fit {type(module).__name__}: {lines[:400]}") from error


def monitored(monitor: str, measures: Mapping[str, Measure]) -> Measure | None:
    """Return the measure by which an epoch is chosen, or None if validation has none of that name."""
    name = monitor.removeprefix("val/")
    # A measure with several values is logged under ``name/key``.
    measure = measures.get(name) or measures.get(name.rpartition("/")[0])
    return None if measure is None or measure.at_test else measure


def direction(monitor: str, evaluate: Evaluate) -> bool:
    """Return whether the monitored metric is better when higher, as the metric itself says.

    Raises:
        StageError: If no metric has this name, if it is not computed at every validation, or if it has no direction.
    """
    measure = monitored(monitor, evaluate.measures)
    if measure is None:
        known = sorted(f"val/{other}" for other, measured in evaluate.measures.items() if not measured.at_test)
        raise StageError(f"monitor {monitor!r} is no metric of the evaluation; there are {known}")
    if measure.explaining and evaluate.every != 1:
        raise StageError(
            f"monitor {monitor!r} is computed at one validation in {evaluate.every}, and an epoch is chosen among all; "
            f"set evaluate.every to 1, or take another monitor, such as val/accuracy"
        )
    if measure.metric.higher_is_better is None:
        raise StageError(f"monitor {monitor!r} has no direction; choose another, such as val/accuracy")
    return bool(measure.metric.higher_is_better)


@contextmanager
def user_errors(where: str) -> Iterator[None]:
    """Turn errors of constructors, losses, metrics and networks into a StageError that says where they arose."""
    try:
        yield
    except StageError:
        raise
    except ConfigurationError as error:
        raise StageError(f"{where}: {error}") from error
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
        raise StageError(f"{where}: {text}") from error
