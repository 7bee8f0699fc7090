"""Metrics by name, in any Lightning project, with or without a teacher and an explainer."""

from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from kdlab.callbacks.evaluate import Evaluate
from kdlab.callbacks.measure import Measure
from kdlab.callbacks.standard import standard_measures
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.metrics.accuracy import Accuracy
from kdlab.metrics.agreement import Agreement
from kdlab.metrics.attribution_agreement import AttributionCosine
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.teacher import Teacher
from tests.data.made_up import MadeUp


class Foreign(lightning.LightningModule):
    """A user's module that knows nothing of kdlab; its batches are pairs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs)
        return logits

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        return None

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        return None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(*callbacks: lightning.Callback, **arguments: Any) -> lightning.Trainer:
    settings = {
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
    }
    return lightning.Trainer(**{**settings, **arguments}, callbacks=list(callbacks))


def pairs() -> torch.utils.data.DataLoader[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    inputs, target = torch.randn(40, 5, generator=generator), torch.randint(3, (40,), generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, target), batch_size=16)


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_it_works_in_a_project_that_knows_nothing_of_kdlab() -> None:
    evaluate = Evaluate({"accuracy": Accuracy(), "deletion": DeletionAUC()}, InputGradient, probe=20)
    module, runner = Foreign(), trainer(evaluate)
    runner.fit(module, pairs(), pairs())
    inputs, target = (torch.cat(part) for part in zip(*pairs(), strict=True))
    expected = (module(inputs).argmax(1) == target).double().mean()
    assert runner.callback_metrics["val/accuracy"] == pytest.approx(float(expected))
    assert 0 < runner.callback_metrics["val/deletion"] < 1


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_numbers_are_equal_under_fit_validate_and_test() -> None:
    evaluate = Evaluate({"deletion": DeletionAUC(), "accuracy": Accuracy()}, InputGradient, probe=20)
    module, runner = Foreign(), trainer(evaluate)
    runner.fit(module, pairs(), pairs())
    fitted = dict(runner.callback_metrics)
    (validated,) = runner.validate(module, pairs(), verbose=False)
    (tested,) = runner.test(module, pairs(), verbose=False)
    for name in ("deletion", "accuracy"):
        assert fitted[f"val/{name}"] == pytest.approx(validated[f"val/{name}"], abs=1e-7)
        assert tested[f"test/{name}"] == pytest.approx(validated[f"val/{name}"], abs=1e-7)


def test_a_metric_that_nobody_can_serve_is_refused_before_training() -> None:
    data = MadeUp(classes=3)
    batch = next(iter(data.train_dataloader()))
    module = Supervised(MLP(inputs=64, classes=3))
    with pytest.raises(KeyError, match="metric 'agreement' asks for 'teacher_logits'"):
        Evaluate({"agreement": Agreement()}).check(module, batch)
    with pytest.raises(KeyError, match="'attributions'"):
        Evaluate({"deletion": DeletionAUC()}).check(module, batch)


def test_a_renamed_torchmetrics_metric_is_a_fidelity_metric() -> None:
    class TeacherClass(MulticlassAccuracy):
        def update(self, preds: Tensor, target: Tensor) -> None:  # type: ignore[override]  # soft labels as classes
            super().update(preds, target.argmax(1))

    metric = Measure(TeacherClass(num_classes=3, average="micro"), {"target": "teacher_logits"})
    teacher = Teacher(ConvNet(classes=3, width=2))
    evaluate = Evaluate({"same": metric, "agreement": Agreement()}, teacher=teacher)
    (values,) = trainer(evaluate).test(
        Supervised(MLP(inputs=64, classes=3)), datamodule=MadeUp(classes=3), verbose=False
    )
    assert values["test/same"] == pytest.approx(values["test/agreement"])


def test_every_standard_measure_of_a_joint_stage_is_logged_with_controls_and_scores() -> None:
    torch.manual_seed(0)
    teacher = Teacher(ConvNet(classes=3, width=2))
    module = Joint(MLP(inputs=64, classes=3), lambda model: NeuralSurrogate(model, 64, 3), teacher=teacher)
    evaluate = Evaluate(standard_measures(3, True, True, True), InputGradient, probe=16)
    (values,) = trainer(evaluate).test(module, datamodule=MadeUp(classes=3), verbose=False)
    names = {name.removeprefix("test/") for name in values}
    assert set(evaluate.measures) <= names
    assert {"explainer/deletion_auc", "explanation/random/deletion_auc"} <= names
    assert "accuracy" in evaluate.scores
    assert len(torch.cat(evaluate.scores["explanation/deletion_auc"])) == 16


def test_the_teachers_class_is_explained_where_attributions_are_compared() -> None:
    # A model compared with itself as teacher: every attribution is the same.
    torch.manual_seed(0)
    network = MLP(inputs=64, classes=3)
    evaluate = Evaluate({"cosine": AttributionCosine()}, InputGradient, teacher=Teacher(network))
    (values,) = trainer(evaluate).test(Supervised(network), datamodule=MadeUp(classes=3), verbose=False)
    assert values["test/cosine"] == pytest.approx(1.0, abs=1e-5)


def test_a_metric_with_several_values_is_logged_under_the_name_of_each() -> None:
    class Both(Accuracy):
        def compute(self) -> dict[str, Tensor]:  # type: ignore[override]  # torchmetrics lets it be anything
            right = super().compute()
            return {"right": right, "wrong": 1 - right}

    measures = {"both": Both(), "each": MulticlassAccuracy(num_classes=3, average="none")}
    (values,) = trainer(Evaluate(measures)).test(
        Supervised(MLP(inputs=64, classes=3)), datamodule=MadeUp(classes=3), verbose=False
    )
    assert values["test/both/right"] + values["test/both/wrong"] == pytest.approx(1.0)
    assert {"test/each/0", "test/each/1", "test/each/2"} <= set(values)


def test_what_is_for_the_test_is_left_out_of_validation() -> None:
    evaluate = Evaluate({"late": Measure(DeletionAUC(), at_test=True), "accuracy": Accuracy()}, InputGradient, probe=8)
    module, runner = Supervised(MLP(inputs=64, classes=3)), trainer(evaluate)
    (validated,) = runner.validate(module, datamodule=MadeUp(classes=3), verbose=False)
    (tested,) = runner.test(module, datamodule=MadeUp(classes=3), verbose=False)
    assert "val/late" not in validated
    assert 0 < tested["test/late"] < 1


class Masked(MadeUp):
    """Whose evidence lies in the upper half, as a person says."""

    def load(self) -> dict[str, dict[str, Tensor]]:
        splits = super().load()
        mask = torch.zeros(1, 8, 8)
        mask[:, :4] = 1
        return {name: {**split, "mask": mask.expand_as(split["inputs"])} for name, split in splits.items()}


def test_attributions_are_compared_with_masks_where_there_are_some() -> None:
    measures = standard_measures(3, False, True, False, mask=True)
    (values,) = trainer(Evaluate(measures, InputGradient, probe=16)).test(
        Supervised(MLP(inputs=64, classes=3)), datamodule=Masked(classes=3), verbose=False
    )
    for name in ("mass_accuracy", "rank_accuracy", "pointing_game"):
        assert 0 <= values[f"test/explanation/{name}"] <= 1
        assert 0 <= values[f"test/explanation/random/{name}"] <= 1


def test_the_teachers_reasons_are_asked_once_a_split() -> None:
    class Counting(Teacher):
        asked = 0

        def attributions(self, inputs: Tensor, *arguments: object) -> Tensor:
            type(self).asked += 1
            return super().attributions(inputs, *arguments)  # type: ignore[arg-type]

    evaluate = Evaluate({"cosine": AttributionCosine()}, InputGradient, teacher=Counting(ConvNet(classes=3, width=2)))
    module, runner = Supervised(MLP(inputs=64, classes=3)), trainer(evaluate)
    runner.fit_loop.max_epochs = 3
    runner.fit(module, datamodule=MadeUp(classes=3))
    assert Counting.asked == 1
    fitted = float(runner.callback_metrics["val/cosine"])
    (validated,) = runner.validate(module, datamodule=MadeUp(classes=3), verbose=False)
    assert validated["val/cosine"] == pytest.approx(fitted, abs=1e-7)


class Recorded(Logger):
    """Keeps what is logged, by step."""

    name = "recorded"  # type: ignore[assignment]  # a property of Lightning's
    version = "0"  # type: ignore[assignment]  # likewise

    def __init__(self) -> None:
        super().__init__()
        self.points: list[tuple[int | None, dict[str, float]]] = []

    def log_hyperparams(self, params: object, *args: object, **kwargs: object) -> None:
        """There is nothing to keep."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep a point."""
        self.points.append((step, metrics))

    def epochs_with(self, name: str) -> list[float]:
        """The epochs in which a value was logged."""
        return [metrics["epoch"] for _, metrics in self.points if name in metrics]


class Seen(lightning.Callback):
    """Keeps the names that other callbacks see after each validation."""

    def __init__(self) -> None:
        self.names: list[set[str]] = []

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Look."""
        self.names.append(set(trainer.callback_metrics))


def fitted(evaluate: Evaluate, epochs: int, **arguments: Any) -> tuple[lightning.Trainer, Recorded, Seen]:
    recorded, seen = Recorded(), Seen()
    runner = trainer(evaluate, seen, logger=recorded, max_epochs=epochs, log_every_n_steps=1, **arguments)
    torch.manual_seed(0)
    runner.fit(Supervised(MLP(inputs=64, classes=3)), datamodule=MadeUp(classes=3))
    return runner, recorded, seen


def test_every_nth_validation_is_explained_and_the_last() -> None:
    evaluate = Evaluate({"deletion": DeletionAUC(), "accuracy": Accuracy()}, InputGradient, probe=8, every=2)
    _, recorded, _ = fitted(evaluate, epochs=5)
    assert recorded.epochs_with("val/accuracy") == [0, 1, 2, 3, 4]
    assert recorded.epochs_with("val/deletion") == [1, 3, 4]
    assert not evaluate.lacks({"val/deletion": 0.1})
    assert evaluate.lacks({"val/accuracy": 0.1})


def test_the_last_validation_is_known_where_not_every_epoch_has_one() -> None:
    evaluate = Evaluate({"deletion": DeletionAUC()}, InputGradient, probe=8, every=3)
    _, recorded, _ = fitted(evaluate, epochs=5, check_val_every_n_epoch=2)
    assert recorded.epochs_with("val/deletion") == [3]


def test_a_value_of_an_earlier_validation_is_not_taken_for_a_new_one() -> None:
    evaluate = Evaluate({"deletion": DeletionAUC(), "accuracy": Accuracy()}, InputGradient, probe=8, every=2)
    _, _, seen = fitted(evaluate, epochs=3)
    assert ["val/deletion" in names for names in seen.names] == [False, True, True]
    _, _, seen = fitted(evaluate, epochs=4)  # counts on: validations 4 and 6 of all, and the last
    assert ["val/deletion" in names for names in seen.names] == [True, False, True, True]
    assert all("val/accuracy" in names for names in seen.names)


def test_values_are_logged_at_the_step_that_lightning_would_name() -> None:
    class Plain(lightning.Callback):
        def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            pl_module.log("val/plain", 1.0)

    recorded = Recorded()
    runner = trainer(Evaluate({"accuracy": Accuracy()}), Plain(), logger=recorded, max_epochs=3, log_every_n_steps=1)
    runner.fit(Supervised(MLP(inputs=64, classes=3)), datamodule=MadeUp(classes=3))
    steps = {name: [step for step, metrics in recorded.points if name in metrics] for name in ("val/plain",)}
    assert [step for step, metrics in recorded.points if "val/accuracy" in metrics] == steps["val/plain"]
    assert recorded.epochs_with("val/accuracy") == [0, 1, 2]


def test_validation_and_test_on_their_own_are_always_explained() -> None:
    evaluate = Evaluate({"deletion": DeletionAUC()}, InputGradient, probe=8, every=7)
    runner, module = trainer(evaluate), Supervised(MLP(inputs=64, classes=3))
    (validated,) = runner.validate(module, datamodule=MadeUp(classes=3), verbose=False)
    (tested,) = runner.test(module, datamodule=MadeUp(classes=3), verbose=False)
    assert 0 < validated["val/deletion"] < 1
    assert 0 < tested["test/deletion"] < 1


@pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")
def test_what_is_explained_outside_of_a_loop_is_what_validation_says() -> None:
    measures = standard_measures(3, True, True, True)
    teacher = Teacher(ConvNet(classes=3, width=2))
    module = Joint(MLP(inputs=64, classes=3), lambda model: NeuralSurrogate(model, 64, 3), teacher=teacher)
    evaluate = Evaluate(measures, InputGradient, probe=16)
    (validated,) = trainer(evaluate).validate(module, datamodule=MadeUp(classes=3), verbose=False)
    found = evaluate.explained(module, MadeUp(classes=3))
    assert {"val/explanation/deletion_auc", "val/explainer/deletion_auc", "val/explanation/teacher_cosine"} <= set(
        found
    )
    assert found == {name: pytest.approx(validated[name], abs=1e-7) for name in found}

    class Pairs(lightning.LightningDataModule):
        def val_dataloader(self) -> torch.utils.data.DataLoader[tuple[Tensor, ...]]:
            return pairs()

    evaluate = Evaluate({"deletion": DeletionAUC()}, InputGradient, probe=20)
    foreign = Foreign()
    (validated,) = trainer(evaluate).validate(foreign, datamodule=Pairs(), verbose=False)
    assert evaluate.explained(foreign, Pairs())["val/deletion"] == pytest.approx(validated["val/deletion"], abs=1e-7)


def test_a_resumed_run_knows_whose_turn_it_is() -> None:
    evaluate = Evaluate({"deletion": DeletionAUC()}, InputGradient, probe=8, every=3)
    fitted(evaluate, epochs=2)
    again = Evaluate({"deletion": DeletionAUC()}, InputGradient, probe=8, every=3)
    again.load_state_dict(evaluate.state_dict())
    _, recorded, _ = fitted(again, epochs=5)
    assert recorded.epochs_with("val/deletion") == [0, 3, 4]  # the third and the sixth validation of all, and the last
    assert again.seconds > evaluate.seconds > 0


@pytest.mark.parametrize("wrong", [{"probe": 0}, {"every": 0}])
def test_a_probe_or_a_rhythm_of_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="probe and every must be at least 1"):
        Evaluate({"accuracy": Accuracy()}, **wrong)  # type: ignore[arg-type]
