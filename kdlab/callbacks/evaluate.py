"""Metrics by name, after every validation epoch and at test, in any Lightning project."""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor, nn
from torchmetrics import Metric

from kdlab.callbacks.explanations import Explanations
from kdlab.callbacks.measure import Measure, values_of
from kdlab.callbacks.probe import Probe
from kdlab.data.adopted import Data, adopt_data, data_of
from kdlab.data.batches import as_batch
from kdlab.explainers.base import Attribution
from kdlab.metrics.base import PerSample
from kdlab.modules.adopted import adopt_module
from kdlab.randomness import global_state, restore_global_state
from kdlab.signals.vocabulary import VOCABULARY, Signals, explain_missing
from kdlab.teacher import Teacher

#: By default, so many samples are trained on for each sample that is explained. The standard metrics cost some 70
#: forward passes for each sample, or twice that with a learned explainer; training costs three. Scoring, together with
#: validation, then stays below a quarter of the time.
WORK = 400


class Evaluate(lightning.Callback):
    """Scores a model every epoch and at test: on the whole split, or on a probe set for metrics that need explanations.

    A metric is called with the signals that its ``update`` names. Metrics that need attributions, the explained class
    or a baseline are scored on the probe. This is a fixed, stratified subset if the data module is kdlab's, else the
    split's first samples. The explained class is the model's own prediction, or the teacher's for metrics that compare
    with ``teacher_attributions``. Values are logged as ``val/<name>`` and ``test/<name>``, those of a metric with
    several values as ``<name>/<key>``. The number of scores that could not be computed is ``<name>_nan``; if the value
    is a median, the mean is ``<name>_mean``.

    Args:
        metrics: measures, or plain metrics, by the name under which they are logged.
        explainer: the one post-hoc method for every model compared, a callable from the model.
        probe: how many samples are explained. A deletion and an insertion curve cost 33 forward passes each, so that 32
            samples take about as long as training on 1,000.
        baseline: the value of an absent feature, of one input's shape; the data module's if left out, else zeros.
        teacher: the reference for fidelity if the module has no teacher of its own.
        controls: whether, at test, each score of attributions is also computed for controls: for the same attributions
            moved to other places, as ``explanation/random/<name>``, and for those of the same architecture with weights
            drawn anew, as ``explanation/untrained/<name>``. Both are scored on the model itself: an explanation that
            does not beat them says nothing about what the model learnt. If attributions are compared with the
            teacher's, the control is the teacher's for another sample of the class, as ``explanation/shuffled/<name>``:
            agreement with it shows only what all samples of a class share.
        every: during a fit, the probe is explained at each n-th validation and in the last epoch that ``max_epochs``
            allows; all other metrics are computed each time. A value that was not computed is neither logged nor in
            ``trainer.callback_metrics``. ``validate`` and ``test`` always explain. None keeps explanations a small part
            of the time: the probe is explained once the model was trained on ``WORK`` times as many samples as it has,
            where a sample counts each time it is seen.

    Raises:
        ValueError: If probe or every is below 1.
    """

    def __init__(
        self,
        metrics: Mapping[str, Measure | Metric],
        explainer: Callable[[nn.Module], Attribution] | None = None,
        probe: int = 32,
        baseline: Tensor | None = None,
        teacher: Teacher | None = None,
        controls: bool = True,
        every: int | None = None,
    ) -> None:
        if min(probe, 1 if every is None else every) < 1:
            raise ValueError(f"probe and every must be at least 1, got {probe} and {every}")
        self.measures = {name: m if isinstance(m, Measure) else Measure(m) for name, m in metrics.items()}
        self.explainer = explainer
        self.teacher = teacher
        self.controls = controls
        self.every = every
        self.seconds = 0.0
        self.scores: dict[str, list[Tensor]] = {}
        self._explanations = None if explainer is None else Explanations(explainer)
        self._probe = Probe(probe, baseline)
        self._validations = 0
        self._trained = 0
        self._logged: set[str] = set()
        self._started = 0.0
        self._random: dict[str, Any] = {}

    def check(self, module: lightning.LightningModule, batch: object) -> None:
        """Refuse a metric whose signals this module cannot offer, before anything trains.

        Raises:
            KeyError: If a signal is missing; the message lists what the module offers.
            TypeError: If the explainer cannot work in inference mode.
            ValueError: If its attributions have another shape than the inputs.
        """
        named = as_batch(batch)
        signals = self._signals(module, named)
        offered = set(signals)
        if self._explanations is not None:
            offered |= {"attributions", "explained", "baseline", "attribute", "multiplies_by_inputs"}
            offered |= {"teacher_attributions"} if "teacher" in offered and signals["teacher"].explainable else set()
        for name, measure in self.measures.items():
            lacking = measure.ask.missing(offered)
            if lacking:
                raise KeyError(explain_missing(f"metric {name!r}", lacking, offered & set(VOCABULARY)))
        if self._explanations is not None:
            self._explanations.check(module, self._signals(module, {name: rows[:2] for name, rows in named.items()}))

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Forget what was logged and the teacher's attributions in an earlier run."""
        self._logged = set()
        if self._explanations is not None:
            self._explanations.forget()

    def on_train_batch_start(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        batch: Any,  # noqa: ANN401  of anybody's project
        batch_idx: int,
    ) -> None:
        """Count the samples before the batch is trained on, so that a checkpoint after the batch includes them."""
        if self.every is None and self._explanations is not None:
            named = isinstance(batch, dict) and "inputs" in batch
            self._trained += len(batch["inputs"]) if named else extract_batch_size(batch)

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Reset the metrics and the probe."""
        self._validations += not trainer.sanity_checking
        self._start(trainer, pl_module)

    def on_test_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Reset the metrics, the probe and the scores of single samples."""
        self._start(trainer, pl_module)
        self.scores = {}

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Update the metrics that need no explanation."""
        signals = (
            # kdlab's modules return their signals, so that nothing is computed twice.
            self._with_teacher(outputs) if isinstance(outputs, Signals) else self._signals(pl_module, as_batch(batch))
        )
        for name, measure in self._plain(trainer.testing).items():
            measure.ask(signals)
            if trainer.testing:
                self._keep_scores(name, measure.metric, signals)
        self._probe.look(data_of(trainer), [batch])

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Explain the probe if it is its turn, with controls at test, and log all values."""
        plain = self._plain(trainer.testing)
        values = values_of({name: measure.metric for name, measure in plain.items()})
        if self._is_turn(trainer):
            self._trained = 0
            values |= self._explain(pl_module, data_of(trainer), trainer.testing)
        split = "test" if trainer.testing else "val"
        self._log(trainer, pl_module, {f"{split}/{name}": value for name, value in values.items()})
        restore_global_state(self._random)
        self.seconds += perf_counter() - self._started

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def state_dict(self) -> dict[str, Any]:
        """Return the counts that decide the next turn, the time spent, and the names logged last."""
        turn = {"validations": self._validations, "trained": self._trained, "seconds": self.seconds}
        return {**turn, "logged": sorted(self._logged)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a ``state_dict``."""
        self._validations, self._trained = state_dict["validations"], state_dict["trained"]
        self.seconds, self._logged = state_dict["seconds"], set(state_dict["logged"])

    def lacks(self, logged: Mapping[str, float]) -> bool:
        """Return whether the values logged for an epoch lack those that need explanations."""
        names = [f"val/{name}" for name in self._explaining(testing=False)] if self._explanations is not None else []
        return any(not any(key == name or key.startswith(f"{name}/") for key in logged) for name in names)

    def explained(self, module: lightning.LightningModule, data: lightning.LightningDataModule) -> dict[str, float]:
        """Return what validation would log about this module's explanations, by the same names, outside of any loop."""
        self._started = perf_counter()
        self._probe.start()
        adopted = adopt_data(data)
        self._probe.look(adopted, data.val_dataloader())
        with torch.inference_mode():
            values = self._explain(module.eval(), adopted, testing=False)
        self.seconds += perf_counter() - self._started
        return {f"val/{name}": float(value) for name, value in values.items()}

    def _start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._started = perf_counter()
        # Metrics and explainers may draw random numbers; the training afterwards must not depend on that.
        self._random = global_state()
        self._probe.start()
        self._reset(module, self._plain(trainer.testing))

    def _reset(self, module: lightning.LightningModule, measures: Mapping[str, Measure]) -> None:
        for measure in measures.values():
            if measure.metric.device != module.device:
                measure.metric.to(module.device)
            measure.metric.reset()
        if self.teacher is not None:
            self.teacher.to(module.device)

    def _log(self, trainer: lightning.Trainer, module: lightning.LightningModule, values: Mapping[str, Any]) -> None:
        """Log the values as Lightning does, but without its object for each value: a tenth of a small net's epoch."""
        if not _fits(trainer):
            module.log_dict(values)
            return
        # Values of earlier validations would otherwise stay there and be taken for new ones.
        for name in self._logged - values.keys():
            trainer.callback_metrics.pop(name, None)
        self._logged = set(values)
        trainer.callback_metrics.update({name: torch.as_tensor(value) for name, value in values.items()})
        numbers = {name: float(value) for name, value in values.items()} | {"epoch": trainer.current_epoch}
        for logger in () if trainer.sanity_checking else trainer.loggers:
            # Lightning numbers a step by how many came before it; the same number is used here in all logs.
            logger.log_metrics(numbers, trainer.global_step - 1)

    def _plain(self, testing: bool) -> dict[str, Measure]:
        return {n: m for n, m in self.measures.items() if (testing or not m.at_test) and not m.explaining}

    def _explaining(self, testing: bool) -> dict[str, Measure]:
        return {n: m for n, m in self.measures.items() if (testing or not m.at_test) and m.explaining}

    def _is_turn(self, trainer: lightning.Trainer) -> bool:
        if not _fits(trainer) or trainer.sanity_checking:
            return True
        if self.every is None:
            # Processes may differ by a sample in what they have seen, and must all explain at the same time.
            due = trainer.strategy.reduce_boolean_decision(self._trained >= WORK * self._probe.count, all=False)
        else:
            due = self._validations % self.every == 0
        if due:
            return True
        epochs, steps = trainer.max_epochs or -1, trainer.max_steps
        following = trainer.current_epoch + (trainer.check_val_every_n_epoch or 1)
        return 0 < epochs <= following or 0 < steps <= trainer.global_step

    def _explain(self, module: lightning.LightningModule, data: Data, testing: bool) -> dict[str, Any]:
        """Return scores of attributions on the probe by name, with the counts of those that could not be computed."""
        measures, split = self._explaining(testing), "test" if testing else "val"
        if self._explanations is None or not measures:
            return {}
        self._reset(module, measures)
        signals = self._signals(module, self._probe.of(data, split, module.device))
        baseline = self._probe.baseline(data, signals["inputs"])
        scored = self._explanations.scored(signals, measures, split, baseline, testing and self.controls)
        if testing:
            for name, metric in scored.items():
                self._keep_scores(name, metric, signals)
        return values_of(scored)

    def _signals(self, module: lightning.LightningModule, batch: dict[str, Tensor]) -> Signals:
        return self._with_teacher(adopt_module(module).signals(batch))

    def _with_teacher(self, signals: Signals) -> Signals:
        teacher = self.teacher
        if teacher is None or "teacher" in signals:
            return signals
        return signals.joined({"teacher": teacher}, {"teacher_logits": lambda s: teacher.exact_logits(s)})

    def _keep_scores(self, name: str, metric: Metric, signals: Mapping[str, Any]) -> None:
        if isinstance(metric, PerSample) and "index" in signals:
            # Double precision holds every index exactly.
            rows = torch.stack((signals["index"].double(), metric.latest.double())).T
            self.scores.setdefault(name, []).append(rows.cpu())


def _fits(trainer: lightning.Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING
