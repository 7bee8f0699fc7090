"""Attributions that know nothing of the model."""

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn

from kdlab.callbacks.controls import random_attributions, untrained
from kdlab.callbacks.evaluate import Evaluate
from kdlab.explainers.input_gradient import InputGradient
from kdlab.metrics.deletion_auc import DeletionAUC
from kdlab.metrics.parameter_randomisation import ParameterRandomisation
from kdlab.metrics.sensitivity import MaxSensitivity
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.modules.supervised import Supervised
from tests.data.made_up import MadeUp


def test_every_layer_is_drawn_anew_in_a_copy() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)).train()
    before, state = [p.clone() for p in model.parameters()], torch.get_rng_state()
    copy, again = untrained(model), untrained(model)
    assert copy is not None
    assert again is not None
    assert all(torch.equal(old, now) for old, now in zip(before, model.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not copy.training
    assert not torch.equal(copy[0].weight, model[0].weight)
    assert not torch.equal(copy[2].weight, model[2].weight)
    assert all(torch.equal(a, b) for a, b in zip(copy.parameters(), again.parameters(), strict=True))


def test_attention_and_normalisation_are_drawn_anew_too() -> None:
    attention = nn.MultiheadAttention(4, 2)
    copy = untrained(attention)
    assert copy is not None
    assert not torch.equal(copy.get_parameter("in_proj_weight"), attention.in_proj_weight)
    conv = ConvNet(classes=3, width=2).train()
    conv(torch.randn(8, 1, 8, 8) + 5)
    fresh = untrained(conv)
    assert fresh is not None
    assert all(float(b.abs().sum()) == 0 for name, b in fresh.named_buffers() if name.endswith("running_mean"))


def test_a_model_that_cannot_be_drawn_anew_has_no_such_control() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(64, 3))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.flatten(1) @ self.weight

    assert untrained(Own()) is None


def test_controls_stand_beside_each_score_at_test_and_not_in_validation() -> None:
    measures = {
        "explanation/deletion_auc": DeletionAUC(),
        "explanation/max_sensitivity": MaxSensitivity(),
        "explanation/sanity": ParameterRandomisation(),
    }
    evaluate = Evaluate(measures, InputGradient, probe=16)
    runner = lightning.Trainer(
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        callbacks=[evaluate],
    )
    module = Supervised(MLP(inputs=64, classes=3))
    runner.fit(module, datamodule=MadeUp(classes=3))
    assert not any("untrained" in name or "random" in name for name in runner.callback_metrics)
    before = [p.clone() for p in module.parameters()]
    (values,) = runner.test(module, datamodule=MadeUp(classes=3), verbose=False)
    assert all(torch.equal(old, now) for old, now in zip(before, module.parameters(), strict=True))
    own, control, noise = (values[f"test/explanation/{name}deletion_auc"] for name in ("", "untrained/", "random/"))
    assert own < min(control, noise)  # the trained model's own reasons break its prediction sooner
    assert "test/explanation/untrained/max_sensitivity" in values
    assert "test/explanation/random/max_sensitivity" not in values  # noise has nothing that explains again
    # The copy explains itself: other weights in the trained model would change nothing and score 1.
    assert values["test/explanation/sanity"] < 0.9
    assert "test/explanation/untrained/sanity" not in values


def test_noise_is_the_same_in_every_run() -> None:
    like = torch.zeros(3, 2)
    assert torch.equal(random_attributions(like), random_attributions(like))
