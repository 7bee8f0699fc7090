"""Metrics by name, after every validation epoch and at test, in any Lightning project."""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from kdlab.callbacks.controls import random_attributions, untrained
from kdlab.callbacks.measure import Attribute, Measure, flattened, nan_counts
from kdlab.data.base import DataModule
from kdlab.data.batches import as_batch
from kdlab.explainers.base import Attribution, explaining
from kdlab.metrics.base import PerSample
from kdlab.modules.supervised import Supervised
from kdlab.signals import VOCABULARY, Asked, Signals, explain_missing
from kdlab.teacher import Teacher


class Evaluate(lightning.Callback):
    """Score a model every epoch and at test: on the whole split, and where explanations are needed on a probe set.

    A metric is asked by the names of its ``update``. Those that need attributions, the explained class or a baseline
    are scored on the probe: a fixed, stratified subset where the data module is kdlab's, else the split's first
    samples. The explained class is the model's own prediction; for metrics that compare with
    ``teacher_attributions`` it is the teacher's. Values are logged as ``val/<name>`` and ``test/<name>``, those of a
    metric with several values as ``<name>/<key>``; scores that could not be computed are counted as ``<name>_nan``.

    Args:
        metrics: measures, or plain metrics, by the name under which they are logged.
        explainer: the one post-hoc method for every model compared, a callable from the model.
        probe: how many samples are explained.
        baseline: what stands for an absent feature, of one input's shape; the data module's, else zeros.
        teacher: the reference for fidelity where the module has no teacher of its own.
        controls: whether each score of attributions is computed at test for random ones too, as
            ``explanation/random/<name>``, and for those of the same architecture with weights drawn anew, as
            ``explanation/untrained/<name>``. Both are scored on the model itself: an explanation that does not beat
            them says nothing about what the model learnt.
    """

    def __init__(
        self,
        metrics: Mapping[str, Measure | Metric],
        explainer: Callable[[nn.Module], Attribution] | None = None,
        probe: int = 128,
        baseline: Tensor | None = None,
        teacher: Teacher | None = None,
        controls: bool = True,
    ) -> None:
        self.measures = {name: m if isinstance(m, Measure) else Measure(m) for name, m in metrics.items()}
        self.explainer = explainer
        self.probe = probe
        self.baseline = baseline
        self.teacher = teacher
        self.controls = controls
        self.seconds = 0.0
        self.scores: dict[str, list[Tensor]] = {}
        self._kept: list[dict[str, Tensor]] = []
        self._started = 0.0
        self._of_teacher: dict[str, Tensor] = {}

    def check(self, module: lightning.LightningModule, batch: object) -> None:
        """Refuse before training a metric whose signals this module cannot offer; the message says what it offers."""
        offered = set(self._signals(module, as_batch(batch)))
        if self.explainer is not None:
            offered |= {"attributions", "explained", "baseline", "attribute"}
            offered |= {"teacher_attributions"} if "teacher" in offered else set()
        for name, measure in self.measures.items():
            lacking = measure.ask.missing(offered)
            if lacking:
                raise KeyError(explain_missing(f"metric {name!r}", lacking, offered & set(VOCABULARY)))
        if self.explainer is not None:
            self._check_explainer(module, as_batch(batch))

    def _check_explainer(self, module: lightning.LightningModule, batch: dict[str, Tensor]) -> None:
        """Explain two samples as at test: in eval mode, so that no statistics move, and in inference mode."""
        make = self.explainer
        if make is None:
            return
        # The frame is opened for the modes alone; the mode that counts is opened within.
        with explaining(module), torch.inference_mode():
            signals = self._signals(module, {name: value[:2] for name, value in batch.items()})
            inputs, explained = signals["inputs"], signals["logits"].argmax(dim=1)
            try:
                found = make(signals["model"]).attribute(inputs, explained)
            except RuntimeError as error:
                raise TypeError(
                    f"the explainer of evaluate cannot explain in inference mode ({error}); name captum's methods "
                    f"through the adapter: {{class_path: Captum, init_args: {{method: captum.attr.Saliency}}}}"
                ) from error
        if found.shape != inputs.shape:
            raise ValueError(
                f"the explainer of evaluate gives shape {tuple(found.shape)}, the inputs have {tuple(inputs.shape)}"
            )

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Forget the teacher's attributions of another run."""
        self._of_teacher = {}

    # Validation and test share every step; only the prefix, the probe's split and what is kept differ.

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start afresh."""
        self._start(pl_module)

    def on_test_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start afresh, and keep the score of every sample."""
        self._start(pl_module)
        self.scores = {}

    def on_validation_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        *_: object,
    ) -> None:
        """Update the metrics that need no explanation."""
        self._update(trainer, pl_module, outputs, batch)

    def on_test_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        *_: object,
    ) -> None:
        """Update the metrics that need no explanation."""
        self._update(trainer, pl_module, outputs, batch)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Explain the probe and log."""
        self._finish(trainer, pl_module, "val", controls=False)

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Explain the test split's probe, with controls, and log."""
        self._finish(trainer, pl_module, "test", controls=self.controls)

    def _start(self, module: lightning.LightningModule) -> None:
        self._started = perf_counter()
        self._kept = []
        for measure in self.measures.values():
            measure.metric.to(module.device)
            measure.metric.reset()
        if self.teacher is not None:
            self.teacher.to(module.device)

    def _update(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, outputs: object, batch: object
    ) -> None:
        signals = (
            self._with_teacher(outputs) if isinstance(outputs, Signals) else self._signals(module, as_batch(batch))
        )
        for name, measure in self._due(trainer).items():
            if not measure.explaining:
                measure.ask(signals)
                self._keep_scores(trainer, name, measure.metric, signals)
        if sum(len(kept["inputs"]) for kept in self._kept) < self.probe and not isinstance(
            _data_of(trainer), DataModule
        ):
            self._kept.append(as_batch(batch))

    def _finish(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, split: str, controls: bool
    ) -> None:
        due = self._due(trainer)
        explaining = {name: measure for name, measure in due.items() if measure.explaining}
        values: dict[str, Any] = {}
        if explaining and self.explainer is not None:
            values |= self._explain(trainer, module, split, explaining, controls)
        values |= {name: m.metric.compute() for name, m in due.items() if not m.explaining}
        values = flattened(values) | nan_counts(due)
        module.log_dict({f"{split}/{name}": value for name, value in values.items()})
        self.seconds += perf_counter() - self._started

    def _due(self, trainer: lightning.Trainer) -> dict[str, Measure]:
        return {name: m for name, m in self.measures.items() if trainer.testing or not m.at_test}

    def _explain(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        split: str,
        measures: Mapping[str, Measure],
        controls: bool,
    ) -> dict[str, Any]:
        """Scores of attributions on the probe: the post-hoc method's, the learned explainer's, random ones."""
        probe = self._probe(trainer, split)
        probe = {name: value.to(module.device) for name, value in probe.items()}
        signals = self._signals(module, probe)
        own, shared = self._explained(signals, probe, trainer, split)
        values = {}
        for name, measure in measures.items():
            compares = "teacher_attributions" in measure.ask.names()
            measure.ask(shared if compares else own)
            self._keep_scores(trainer, name, measure.metric, signals)
            values[name] = measure.metric.compute()
        others: dict[str, Signals] = {}
        if "explainer" in own:
            others["explainer"] = _as_attributions(own, own["explainer"])
        if controls:
            others |= self._controls(own)
        for prefix, given in others.items():
            for name, measure in measures.items():
                if measure.ask.names() & {"teacher_attributions", "teacher_logits"}:
                    continue
                if prefix == "explanation/random" and "attribute" in measure.ask.names():
                    continue  # random attributions have nothing that explains again
                metric = measure.metric.clone()
                metric.reset()
                Asked(metric.update, measure.takes)(given)
                values[f"{prefix}/{name.removeprefix('explanation/')}"] = metric.compute()
        return values

    def _controls(self, own: Signals) -> dict[str, Signals]:
        """The model's signals with attributions that know nothing of it."""
        noise = random_attributions(own["attributions"])
        found = {"explanation/random": own.joined({"attributions": noise})}
        model = untrained(own["model"])
        if model is not None and self.explainer is not None:
            found["explanation/untrained"] = _as_attributions(own, self.explainer(model))
        return found

    def _explained(
        self, signals: Signals, probe: Mapping[str, Tensor], trainer: lightning.Trainer, split: str
    ) -> tuple[Signals, Signals]:
        """Signals with the model's own class explained, and with the teacher's."""
        make = self.explainer
        if make is None:
            raise ValueError("explanation metrics need an explainer: Evaluate(..., explainer=InputGradient)")
        explainer = make(signals["model"])
        known = {"baseline": self._baseline(trainer, probe["inputs"]), "attribute": Attribute(explainer)}

        def attributions(given: Signals) -> Tensor:
            return explainer.attribute(given["inputs"], given["explained"])

        own = signals.joined({**known, "explained": signals["logits"].argmax(dim=1)}, {"attributions": attributions})
        if "teacher" not in signals:
            return own, own
        shared = signals.joined(
            {**known, "explained": signals["teacher_logits"].argmax(dim=1)},
            {
                "attributions": attributions,
                "teacher_attributions": lambda s: self._teachers(s, make, split),
            },
        )
        return own, shared

    def _teachers(self, signals: Signals, make: Callable[[nn.Module], Attribution], split: str) -> Tensor:
        """The teacher's attributions of a probe: neither changes, so they are computed once a split."""
        if split not in self._of_teacher:
            with torch.inference_mode(False):
                found = signals["teacher"].attributions(signals["inputs"], signals["explained"], make)
            self._of_teacher[split] = found
        return self._of_teacher[split]

    def _signals(self, module: lightning.LightningModule, batch: dict[str, Tensor]) -> Signals:
        if isinstance(module, Supervised):
            return self._with_teacher(module.signals(batch))
        plain = Signals(
            {**batch, "model": module}, {"logits": lambda s: module(s["inputs"]), "preds": lambda s: s["logits"]}
        )
        return self._with_teacher(plain)

    def _with_teacher(self, signals: Signals) -> Signals:
        teacher = self.teacher
        if teacher is None or "teacher" in signals:
            return signals
        return signals.joined({"teacher": teacher}, {"teacher_logits": lambda s: teacher.logits(s)})

    def _probe(self, trainer: lightning.Trainer, split: str) -> dict[str, Tensor]:
        data = _data_of(trainer)
        if isinstance(data, DataModule):
            return data.probe(self.probe, split)
        return {name: torch.cat([kept[name] for kept in self._kept])[: self.probe] for name in self._kept[0]}

    def _baseline(self, trainer: lightning.Trainer, inputs: Tensor) -> Tensor:
        data = _data_of(trainer)
        if self.baseline is not None:
            return self.baseline.to(inputs)
        return data.baseline.to(inputs) if isinstance(data, DataModule) else torch.zeros_like(inputs[0])

    def _keep_scores(self, trainer: lightning.Trainer, name: str, metric: Metric, signals: Signals) -> None:
        if trainer.testing and isinstance(metric, PerSample) and "index" in signals:
            rows = torch.stack((signals["index"].double(), metric.latest.double())).T
            self.scores.setdefault(name, []).append(rows.cpu())


def _data_of(trainer: lightning.Trainer) -> Any:  # noqa: ANN401  Lightning sets it where there is one
    return getattr(trainer, "datamodule", None)


def _as_attributions(signals: Signals, explainer: Any) -> Signals:  # noqa: ANN401  a module that is an Attribution
    return signals.joined(
        {"attribute": Attribute(explainer)},
        {"attributions": lambda given: explainer.attribute(given["inputs"], given["explained"])},
    )
