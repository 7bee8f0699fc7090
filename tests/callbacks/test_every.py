"""When explanations are scored, and at which step and under which names values are logged."""

from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

from kdlab.callbacks import evaluate as evaluate_module
from kdlab.callbacks.evaluate import Evaluate
from kdlab.callbacks.standard import standard_measures
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.metrics.accuracy import Accuracy
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.teacher import Teacher
from tests.callbacks.projects import Foreign, pairs, trainer
from tests.data.made_up import MadeUp


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


def test_unless_it_is_said_explaining_waits_until_enough_was_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    data = MadeUp(classes=3)
    data.setup()
    trained = len(data.splits["train"]["target"]) // data.batch_size * data.batch_size  # an epoch's whole batches
    monkeypatch.setattr(evaluate_module, "WORK", 3 * trained / 8)
    measures = {"deletion": DeletionAUC(), "accuracy": Accuracy()}
    first = Evaluate(measures, InputGradient, probe=8)
    _, recorded, _ = fitted(first, epochs=8)
    assert recorded.epochs_with("val/accuracy") == list(range(8))
    assert recorded.epochs_with("val/deletion") == [2, 5, 7]

    again = Evaluate(measures, InputGradient, probe=8)
    again.load_state_dict({**first.state_dict(), "trained": 2 * trained})
    _, recorded, _ = fitted(again, epochs=6)
    assert recorded.epochs_with("val/deletion") == [0, 3, 5]


def test_samples_of_any_batch_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_module, "WORK", 1e9)
    evaluate = Evaluate({"deletion": DeletionAUC()}, InputGradient, probe=8)
    runner = trainer(evaluate, max_epochs=1, limit_val_batches=0)
    runner.fit(Foreign(), pairs(), pairs())
    assert evaluate.state_dict()["trained"] == sum(len(inputs) for inputs, _ in pairs())


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
        Evaluate({"accuracy": Accuracy()}, **wrong)  # type: ignore[arg-type]  # none of these names is metrics
