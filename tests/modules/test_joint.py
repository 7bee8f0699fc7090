"""A student as its own surrogate, helped by its explainer, or frozen."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.amortised_shapley import AmortisedShapley
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.explainers.players import Superpixels
from kdlab.explainers.rule_tree import RuleTree
from kdlab.models.conv_net import ConvNet
from kdlab.modules.distilled import Distilled
from kdlab.modules.ema import EMA
from kdlab.modules.joint import Joint
from kdlab.modules.masking import Masks
from kdlab.stages.costs import costs
from tests.modules.fitting import batch, data, equal, fit, student, teacher, weights


def surrogate(model: nn.Module) -> NeuralSurrogate:
    return NeuralSurrogate(model, 64, 3)


def shapley(model: nn.Module) -> AmortisedShapley:
    return AmortisedShapley(model, [1, 8, 8], 3, Superpixels(4), hidden=[8], average=0.9)


def joint(**arguments: object) -> Joint:
    return Joint(student(), surrogate, teacher(), **arguments)  # type: ignore[arg-type]


# Masked batches


def test_no_masks_leave_the_student_as_the_distilled_one_bit_for_bit() -> None:
    alone = Distilled(student(), teacher())
    masked = joint(masked_share=0.0)
    fit(alone)
    fit(masked)
    assert equal(weights(alone.model), weights(masked.model))


def test_masks_show_parts_of_an_input_and_the_baseline_elsewhere() -> None:
    inputs, baseline = torch.randn(6, 1, 8, 8), torch.full((1, 8, 8), 7.0)
    shown = Masks(1.0, shapley(student()), seed=0).shown(inputs, baseline)
    assert shown is not None
    absent = (shown == baseline).float()
    assert bool((torch.isclose(shown, inputs, atol=1e-5) | (absent == 1)).all())
    # Parts are the explainer's: squares of four pixels are shown or hidden as a whole
    squares = absent.reshape(6, 2, 4, 2, 4).permute(0, 1, 3, 2, 4).flatten(3)
    assert bool((squares.min(3).values == squares.max(3).values).all())
    hidden = squares[..., 0].flatten(1).sum(1)
    assert bool(((hidden > 0) & (hidden < 4)).all())


def test_the_share_of_masked_batches_is_what_was_asked_for() -> None:
    masks, inputs = Masks(0.3, None, seed=0), torch.randn(2, 4)
    before = torch.get_rng_state()
    count = sum(masks.shown(inputs, None) is not None for _ in range(1000))
    assert torch.equal(torch.get_rng_state(), before)
    assert 250 < count < 350


def test_only_the_student_is_shown_masks() -> None:
    module = joint(masked_share=1.0)
    given, seen = batch(), []
    module.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    terms = module.terms(module.signals(given), step=0)
    assert len(seen) == 2
    assert not torch.equal(seen[0], given["inputs"])
    assert torch.equal(seen[1], given["inputs"])
    # The soft labels are the teacher's of the whole inputs, and the explainer learns the student on whole inputs
    p, q = module(given["inputs"]).softmax(1), module.explainer(given["inputs"]).softmax(1)
    torch.testing.assert_close(terms["explainer/imitation"][1], (p * (p / q).log()).sum(1).mean())
    soft = module.distill["soft"].loss(module(seen[0]), teacher()(given["inputs"]))
    torch.testing.assert_close(terms["soft"][1], soft)


def test_the_hidden_parts_are_at_the_datas_baseline() -> None:
    module = joint(masked_share=1.0)
    module.baseline = torch.full((1, 8, 8), 9.0)
    seen: list[Tensor] = []
    module.model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module.terms(module.signals(batch()), step=0)
    assert bool((seen[0] == 9.0).any())


def test_masks_change_the_student_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = (joint(masked_share=0.5) for _ in range(3))
    fit(whole, epochs=3)
    fit(first, epochs=1, save=tmp_path / "first.ckpt")
    fit(second, epochs=3, resume=tmp_path / "first.ckpt")
    assert equal(weights(whole.model), weights(second.model))
    alone = Distilled(student(), teacher())
    fit(alone, epochs=3)
    assert not equal(weights(whole.model), weights(alone.model))


def test_one_player_has_no_parts() -> None:
    assert Masks(1.0, None, seed=0).shown(torch.randn(3, 1), None) is None


# The baseline


def test_the_explainer_is_handed_the_datas_baseline() -> None:
    module = Joint(student(), shapley, teacher())
    given = data()
    given.baseline = torch.full((1, 8, 8), 0.25)
    module.baseline = given.baseline
    module.training_step(batch(), 0)
    assert torch.equal(module.explainer.baseline, given.baseline)


def test_fit_takes_it_from_the_data_module() -> None:
    module = Joint(student(), shapley, teacher())
    fit(module, epochs=1)
    assert module.baseline is not None
    assert module.baseline.shape == (1, 8, 8)


# Help


def test_help_by_hand() -> None:
    module = joint(help_back=0.3)
    signals = module.signals(batch())
    weight, value = module.terms(signals, step=0)["help_back"]
    q, p = module.explainer(signals["inputs"]).softmax(1), module(signals["inputs"]).softmax(1)
    assert weight == 0.3
    torch.testing.assert_close(value, (q * (q / p).log()).sum(1).mean())


def test_help_trains_the_student_and_not_the_explainer() -> None:
    module = joint(help_back=1.0)
    value = module.terms(module.signals(batch()), step=0)["help_back"][1]
    reached = torch.autograd.grad(value, list(module.parameters()), allow_unused=True)
    named = dict(zip((name for name, _ in module.named_parameters()), reached, strict=True))
    assert all((gradient is not None) == name.startswith("model.") for name, gradient in named.items())


# A frozen student


def frozen(model: nn.Module | None = None, **arguments: object) -> Joint:
    return Joint(model or ConvNet(classes=3, width=2), surrogate, freeze=True, **arguments)  # type: ignore[arg-type]


def test_a_frozen_student_comes_out_bit_for_bit() -> None:
    module = frozen()
    student_before, explainer_before = weights(module.model), weights(module.explainer)
    fit(module, epochs=2)
    assert equal(student_before, weights(module.model))  # running statistics of its normalisation, too
    assert not equal(explainer_before, weights(module.explainer))
    assert not module.model.training
    assert not any(parameter.grad is not None for parameter in module.model.parameters())


def test_only_the_explainer_is_optimised() -> None:
    module = frozen()
    optimised = {id(p) for group in module.configure_optimizers().param_groups for p in group["params"]}
    assert optimised == {id(p) for p in module.explainer.parameters()}
    assert set(module.terms(module.signals(batch()), 0)) == {"explainer/imitation", "explainer/consistency"}


def test_a_frozen_student_may_have_a_teacher() -> None:
    module = frozen(teacher=teacher())
    assert torch.equal(module.signals(batch())["explained"], teacher()(batch()["inputs"]).argmax(1))
    fit(module, epochs=1)


def test_a_frozen_student_explains_its_own_class_without_a_teacher() -> None:
    module = frozen()
    assert torch.equal(module.signals(batch())["explained"], module(batch()["inputs"]).argmax(1))


def test_an_explainer_after_a_finished_student_learns_as_one_beside_it_would() -> None:
    # Same student at every step: the explainer's gradients are the same, whoever froze it
    one, other = frozen(student()), frozen(student())
    fit(one)
    fit(other)
    assert equal(weights(one.explainer), weights(other.explainer))


@pytest.mark.parametrize(
    "wrong", [{"couple": True}, {"help_back": 0.1}, {"masked_share": 0.1}, {"self_teacher": EMA}, {"explain_weight": 0}]
)
def test_what_would_change_a_frozen_student_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="freeze leaves the student as it is"):
        frozen(**wrong)


def test_an_explainer_without_weights_needs_no_frozen_student() -> None:
    with pytest.raises(ValueError, match="RuleTree has no weights to train on a frozen student"):
        Joint(student(), lambda model: RuleTree(model, inputs=64, classes=3), freeze=True)


@pytest.mark.parametrize(
    "wrong",
    [{"help_back": -1.0}, {"masked_share": 1.5}, {"masked_share": -0.1}, {"beta": -1.0}, {"explain_weight": -1}],
)
def test_weights_and_shares_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        joint(**wrong)


def test_help_needs_an_explainer_that_learns() -> None:
    with pytest.raises(ValueError, match="help_back needs an explainer"):
        joint(help_back=1.0, explain_weight=0.0)


# An explainer's average of the student


def test_an_average_of_the_student_is_neither_optimised_nor_counted() -> None:
    module = Joint(student(), shapley, teacher())
    average = {id(parameter) for parameter in module.explainer.averaged.parameters()}
    optimised = {id(p) for group in module.configure_optimizers().param_groups for p in group["params"]}
    assert not average & optimised
    counted = costs(module.model, batch()["inputs"], None, module.explainer)["explainer_parameters"]
    assert counted == sum(p.numel() for p in module.explainer.multiples.parameters())
