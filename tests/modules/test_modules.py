"""The objective, its weights, and who is trained by what."""

import copy
import warnings

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn

from kdlab.explainers.captum_adapter import Captum
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.neural_surrogate import NeuralSurrogate
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.features.attention_transfer import AttentionTransfer
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.models.conv_net import ConvNet
from kdlab.modules.distilled import Distilled
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.modules.term import Term
from tests.modules.fitting import batch, equal, fit, student, teacher, weights


def explained(**arguments: object) -> Joint:
    return Joint(student(), lambda model: NeuralSurrogate(model, 64, 3), teacher=teacher(), **arguments)


def test_the_objective_by_hand() -> None:
    module = Distilled(student(), teacher(), {"soft": Term(SoftTargets(2.0), weight=3.0)}, alpha=0.5, task_weight=0.7)
    given = batch()
    terms = module.terms(module.signals(given), step=0)
    logits, of_teacher = module(given["inputs"]), module.teacher(given["inputs"])
    seen = given["target"] >= 0
    cross_entropy = nn.functional.cross_entropy(logits[seen], given["target"][seen])
    divergence = nn.functional.kl_div((logits / 2).log_softmax(1), (of_teacher / 2).softmax(1), reduction="batchmean")
    assert terms["task"][0] == 0.7
    assert terms["soft"][0] == 0.5 * 3.0
    torch.testing.assert_close(terms["task"][1], cross_entropy)
    torch.testing.assert_close(terms["soft"][1], 4 * divergence)


def test_the_explainers_terms_by_hand() -> None:
    module = explained(beta=0.3, explain_weight=2.0)
    signals = module.signals(batch())
    terms = module.terms(signals, step=0)
    p, q = signals["logits"].softmax(1), module.explainer(signals["inputs"]).softmax(1)
    assert terms["explainer/imitation"][0] == 2.0
    assert terms["explainer/consistency"][0] == pytest.approx(0.6)
    torch.testing.assert_close(terms["explainer/imitation"][1], (p * (p / q).log()).sum(1).mean())
    torch.testing.assert_close(terms["explainer/consistency"][1], ((p - q) ** 2).sum(1).mean())


def test_the_joint_student_equals_the_distilled_student_bit_for_bit() -> None:
    alone = Distilled(student(), teacher())
    joint = explained(explainer_lr=0.1)
    fit(alone, gradient_clip_val=0.01)
    fit(joint, gradient_clip_val=0.01)
    assert equal(weights(alone.model), weights(joint.model))


def test_a_coupled_explainer_shapes_the_student() -> None:
    apart, coupled = explained(), explained(couple=True)
    fit(apart)
    fit(coupled)
    assert not equal(weights(apart.model), weights(coupled.model))


def test_the_explainer_is_switched_off_by_a_weight_of_zero() -> None:
    module = explained(explain_weight=0.0)
    before = weights(module.explainer)
    fit(module)
    assert equal(before, weights(module.explainer))


def test_the_teacher_is_untouched_and_in_nobodys_hands() -> None:
    frozen = teacher()
    before = frozen.state_hash()
    module = Distilled(
        student(), frozen, {"soft": Term(SoftTargets()), "maps": Term(ExplanationMatch(), explainer=InputGradient)}
    )
    fit(module)
    optimised = {id(p) for group in module.configure_optimizers().param_groups for p in group["params"]}
    assert frozen.state_hash() == before
    assert not any(p.requires_grad or p.grad is not None for p in frozen.network.parameters())
    assert not optimised & {id(p) for p in frozen.network.parameters()}
    assert not any("teacher" in name for name in module.state_dict())
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in module.model.parameters())
    assert module.model.training


def test_unlabelled_samples_teach_through_the_teacher_only() -> None:
    given = batch() | {"target": torch.full((16,), -1)}
    module = Distilled(student(), teacher())
    terms = module.terms(module.signals(given), step=0)
    assert terms["task"][1] == 0
    assert terms["task"][1].requires_grad
    assert terms["soft"][1] > 0


def test_layers_stand_at_the_term_that_needs_them() -> None:
    term = Term(AttentionTransfer(), layers={"block1": "block2"})
    module = Distilled(ConvNet(classes=3, width=2), teacher(), {"attention": term})
    module.prepare(batch())
    signals = module.with_layers(module.signals(batch()))
    assert signals["captured"]["block1"].shape[1] == 2
    torch.testing.assert_close(signals["logits"], module(signals["inputs"]))


def test_features_without_layers_are_refused() -> None:
    with pytest.raises(KeyError, match="name its layers"):
        Distilled(student(), teacher(), {"attention": Term(AttentionTransfer())})


def test_attributions_without_an_explainer_are_refused() -> None:
    with pytest.raises(KeyError, match="give it an explainer"):
        Distilled(student(), teacher(), {"match": Term(ExplanationMatch())})


def test_a_captum_method_in_a_training_loss_is_refused_with_the_remedy() -> None:
    term = Term(ExplanationMatch(), explainer=lambda model: Captum(model, "captum.attr.Saliency"))
    with pytest.raises(TypeError, match="differentiable"):
        Distilled(student(), teacher(), {"match": term}).prepare(batch())


def test_a_term_without_gradient_is_refused() -> None:
    class Constant(nn.Module):
        def forward(self, teacher_logits: Tensor) -> Tensor:
            return teacher_logits.mean()

    with pytest.raises(TypeError, match="'constant' gives no gradient"):
        fit(Distilled(student(), teacher(), {"constant": Term(Constant())}))


def test_a_term_that_is_always_zero_is_named() -> None:
    class Zero(nn.Module):
        def forward(self, logits: Tensor) -> Tensor:
            return 0.0 * logits.sum()

    with pytest.warns(UserWarning, match="'nothing' was exactly zero"):
        fit(Distilled(student(), teacher(), {"nothing": Term(Zero())}), epochs=1)


def test_a_term_counts_at_each_nth_step() -> None:
    module = Distilled(student(), teacher(), {"soft": Term(SoftTargets(), every_n_steps=3)})
    counted = ["soft" in module.terms(module.signals(batch()), step) for step in range(6)]
    assert counted == [True, False, False, True, False, False]


def test_a_distilled_module_without_a_teacher_says_so() -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        fit(Distilled(student()))


@pytest.mark.parametrize("wrong", [{"alpha": -1.0}, {"task_weight": -0.1}])
def test_negative_weights_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        Distilled(student(), teacher(), **wrong)


def test_a_torch_loss_distils_by_renaming() -> None:
    term = Term(nn.MSELoss(), takes={"input": "logits", "target": "teacher_logits"})
    module = Distilled(student(), teacher(), {"mse": term})
    given = batch()
    value = module.terms(module.signals(given), 0)["mse"][1]
    torch.testing.assert_close(value, (module(given["inputs"]) - module.teacher(given["inputs"])).square().mean())


def test_plain_pairs_train_too() -> None:
    inputs, target = torch.randn(32, 64), torch.randint(3, (32,))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs, target), batch_size=8)
    module = Supervised(student())
    before = weights(module.model)
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, loader)
    assert not equal(before, weights(module.model))


def test_modules_can_be_copied_before_training() -> None:
    module = Supervised(student())
    copied = copy.deepcopy(module)
    assert equal(weights(module.model), weights(copied.model))
    assert not {id(one) for one in module.parameters()} & {id(one) for one in copied.parameters()}
    fit(copied, epochs=1)
    assert not equal(weights(copied), weights(module))
