"""Each term's share of the student's gradient, and that looking changes nothing."""

from pathlib import Path

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn

from kdlab.callbacks.balance import Balance, gradient_norms, shares
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.modules.distilled import Distilled
from kdlab.modules.joint import Joint
from tests.modules.fitting import equal, fit, student, teacher, weights


def test_shares_by_hand() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    other = nn.Parameter(torch.tensor(1.0))
    # gradients of 2 * sum: 2 * (1, 1), norm 2 * sqrt(2); of the first value times 3: (3, 0), norm 3
    terms = {"sum": (2.0, weight.sum()), "first": (1.0, 3 * weight[0]), "elsewhere": (1.0, other * 1)}
    norms = gradient_norms(terms, [weight])
    assert {name: pytest.approx(float(norm)) for name, norm in norms.items()} == {"sum": 8**0.5, "first": 3.0}
    found = shares(norms)
    assert float(found["first"]) == pytest.approx(3 / (3 + 8**0.5))
    assert float(sum(found.values())) == pytest.approx(1.0)


def test_shares_of_nothing_are_zero() -> None:
    weight = nn.Parameter(torch.zeros(2))
    assert float(shares(gradient_norms({"none": (1.0, 0 * weight.sum())}, [weight]))["none"]) == 0.0
    assert shares({}) == {}


def test_looking_changes_nothing_and_is_logged_each_epoch() -> None:
    plain, seen = Distilled(student(), teacher()), Distilled(student(), teacher())
    fit(plain)
    logged = fit(seen, callbacks=[Balance(every_n_steps=2)]).callback_metrics
    assert equal(weights(plain.model), weights(seen.model))
    assert {name for name in logged if "balance" in name} == {"train/balance/task", "train/balance/soft"}
    assert float(logged["train/balance/task"] + logged["train/balance/soft"]) == pytest.approx(1.0, abs=1e-6)
    assert seen.observe is None


def test_the_share_is_that_of_the_steps_looked_at() -> None:
    module, wanted = Distilled(student(), teacher()), []

    class Notes(lightning.Callback):
        def on_train_batch_start(self, trainer: object, pl_module: Distilled, batch: dict[str, Tensor], _: int) -> None:
            terms = pl_module.terms(pl_module.signals(batch), pl_module.global_step)
            wanted.append(float(shares(gradient_norms(terms, list(pl_module.model.parameters())))["soft"]))

    logged = fit(module, epochs=1, callbacks=[Notes(), Balance(every_n_steps=3)]).callback_metrics
    assert float(logged["train/balance/soft"]) == pytest.approx((wanted[0] + wanted[3]) / 2, rel=1e-5)


def test_terms_that_are_not_for_the_student_have_no_share() -> None:
    module = Joint(student(), lambda model: NeuralSurrogate(model, 64, 3), teacher(), help_back=0.5)
    logged = fit(module, epochs=1, callbacks=[Balance(every_n_steps=1)]).callback_metrics
    names = {name.removeprefix("train/balance/") for name in logged if "balance" in name}
    assert names == {"task", "soft", "help_back"}


def test_it_goes_on_after_a_resume_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    class Saves(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
            if trainer.global_step == 3:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    def balance(resume: Path | None = None) -> float:
        looks = Balance(every_n_steps=2)
        module = Distilled(student(), teacher())
        trainer = fit(module, epochs=1, callbacks=[looks, Saves()], resume=resume)
        return float(trainer.callback_metrics["train/balance/soft"])

    assert balance() == balance(tmp_path / "middle.ckpt")


def test_an_epoch_without_a_look_logs_nothing() -> None:
    logged = fit(Distilled(student(), teacher()), epochs=2, callbacks=[Balance(every_n_steps=1000)]).callback_metrics
    assert "train/balance/soft" in logged  # of the first epoch, at step 0


def test_steps_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="every_n_steps"):
        Balance(every_n_steps=0)


def test_a_foreign_module_is_refused() -> None:
    balance = Balance()
    with pytest.raises(TypeError, match="LightningModule is none; drop the callback"):
        balance.on_train_start(lightning.Trainer(logger=False, accelerator="cpu"), lightning.LightningModule())
