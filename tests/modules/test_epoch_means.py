"""Epoch means: right for terms that count at some steps only, resumable, and awake to silent zeros."""

import lightning.pytorch as lightning
import pytest
import torch

from kdlab.modules.distilled import Distilled
from kdlab.modules.epoch_means import EpochMeans
from kdlab.modules.supervised import Supervised
from tests.modules.fitting import fit, student, teacher


def test_the_mean_is_over_the_steps_at_which_a_term_counted() -> None:
    means = EpochMeans()
    means.add({"loss": torch.tensor(1.0), "match": torch.tensor(4.0)})
    means.add({"loss": torch.tensor(3.0)})
    assert means.compute() == {"loss": 2.0, "match": 4.0}


def test_a_term_that_is_zero_at_every_step_is_named() -> None:
    means = EpochMeans()
    for value in (0.0, 0.5):
        means.add({"alive": torch.tensor(value), "dead": torch.tensor(0.0)})
    assert means.always_zero() == ["dead"]


def test_sums_go_on_after_a_checkpoint() -> None:
    whole, first = EpochMeans(), EpochMeans()
    for value in (0.1, 0.2, 0.7):
        whole.add({"loss": torch.tensor(value)})
    for value in (0.1, 0.2):
        first.add({"loss": torch.tensor(value)})
    second = EpochMeans()
    second.load_state_dict(first.state_dict(), torch.device("cpu"))
    second.add({"loss": torch.tensor(0.7)})
    assert second.compute() == whole.compute()


def test_nothing_is_left_after_a_reset() -> None:
    means = EpochMeans()
    means.add({"loss": torch.tensor(1.0)})
    means.reset()
    assert means.compute() == {}


def test_each_epoch_has_means_of_its_own_steps() -> None:
    module, seen, logged = Supervised(student()), list[float](), list[float]()
    module.observe = lambda terms: seen.append(sum(float(w * v.detach()) for w, v in terms.values()))

    class Look(lightning.Callback):
        def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            assert module.means.compute() == {}

        def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            logged.append(float(trainer.callback_metrics["train/loss"]))

    fit(module, epochs=3, callbacks=[Look()])
    assert len(seen) == 15
    assert logged == [pytest.approx(sum(seen[-5:]) / 5)]


def test_maps_that_are_dead_are_counted_anew_each_epoch() -> None:
    module = Distilled(student(), teacher())
    module._dead.add({"soft": torch.tensor(3.0)})
    fit(module, epochs=1)
    assert module._dead.totals() == {}
