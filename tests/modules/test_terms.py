"""Weights that change, frozen maps, dead maps, and what is said when a term does not fit."""

from pathlib import Path

import lightning.pytorch as lightning
import pytest
import torch
from torch import Tensor, nn

from kdlab.data.augment import ShiftFlip
from kdlab.explainers.input_gradient import InputGradient
from kdlab.losses.explanations.attributed_part import SufficientPart
from kdlab.losses.explanations.explanation_match import ExplanationMatch
from kdlab.losses.features.attention_transfer import AttentionTransfer
from kdlab.losses.logits.soft_targets import SoftTargets
from kdlab.models.conv_net import ConvNet
from kdlab.models.mlp import MLP
from kdlab.modules.distilled import Distilled
from kdlab.modules.joint import Joint
from kdlab.modules.schedules import LinearDecay, LinearWarmUp, Steps
from kdlab.modules.teacher_maps import dead_maps, frozen_maps
from kdlab.modules.term import Term
from kdlab.teacher import BlackBox, Teacher
from tests.data.made_up import MadeUp
from tests.modules.fitting import batch, data, equal, fit, student, teacher, weights


def matching(frozen: bool) -> Distilled:
    term = Term(ExplanationMatch(), explainer=InputGradient, frozen_teacher_maps=frozen)
    return Distilled(student(), teacher(), {"match": term})


def weights_of(module: Distilled, epochs: int) -> list[float]:
    seen: list[float] = []
    module.observe = lambda terms: seen.append(terms["soft"][0])
    fit(module, epochs=epochs)
    return seen[::5]  # five steps an epoch


def test_a_weight_follows_its_schedule() -> None:
    term = Term(SoftTargets(), weight=2.0, schedule=LinearWarmUp(4))
    module = Distilled(student(), teacher(), {"soft": term}, alpha=0.5)
    assert weights_of(module, 5) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_alpha_scales_all_terms_by_its_own_schedule() -> None:
    term = Term(SoftTargets(), schedule=LinearWarmUp(2))
    module = Distilled(student(), teacher(), {"soft": term}, alpha=0.5, alpha_schedule=LinearDecay(4))
    assert weights_of(module, 3) == pytest.approx([0.5 * 0.5, 0.5 * 0.75, 0.5 * 0.5])
    logged = fit(module, epochs=1).callback_metrics
    assert logged["train/soft_weight"] == pytest.approx(0.25)


def test_the_task_and_the_explainer_have_schedules_too() -> None:
    from kdlab.explainers.neural_surrogate import NeuralSurrogate

    module = Joint(
        student(),
        lambda model: NeuralSurrogate(model, 64, 3),
        teacher(),
        task_schedule=Steps([1], by=0.5),
        explain_schedule=LinearWarmUp(2),
    )
    seen: list[tuple[float, float]] = []
    module.observe = lambda terms: seen.append((terms["task"][0], terms["explainer/imitation"][0]))
    fit(module, epochs=2)
    assert seen[::5] == [(1.0, 0.5), (0.5, 1.0)]


def test_a_schedule_of_ones_changes_nothing() -> None:
    plain = Distilled(student(), teacher())
    scheduled = Distilled(student(), teacher(), {"soft": Term(SoftTargets(), schedule=Steps([]))})
    fit(plain)
    fit(scheduled)
    assert equal(weights(plain.model), weights(scheduled.model))


def test_scheduled_weights_go_on_after_a_resume(tmp_path: Path) -> None:
    def made() -> Distilled:
        return Distilled(student(), teacher(), {"soft": Term(SoftTargets(), schedule=LinearWarmUp(3))})

    whole, first, second = made(), made(), made()
    fit(whole, epochs=3)
    fit(first, epochs=1, save=tmp_path / "first.ckpt")
    fit(second, epochs=3, resume=tmp_path / "first.ckpt")
    assert equal(weights(whole.model), weights(second.model))


def test_frozen_maps_equal_live_ones() -> None:
    live, frozen = matching(False), matching(True)
    values: dict[str, list[Tensor]] = {"live": [], "frozen": []}
    live.observe = lambda terms: values["live"].append(terms["match"][1].detach())
    frozen.observe = lambda terms: values["frozen"].append(terms["match"][1].detach())
    fit(live)
    fit(frozen)
    torch.testing.assert_close(torch.stack(values["frozen"]), torch.stack(values["live"]), rtol=1e-4, atol=1e-5)


def test_frozen_maps_ask_the_teacher_once() -> None:
    class Counting(Teacher):
        explained = 0

        def attributions(self, inputs: Tensor, *arguments: object) -> Tensor:
            type(self).explained += len(inputs)
            return super().attributions(inputs, *arguments)  # type: ignore[arg-type]

    module = matching(True)
    module.teacher = Counting(ConvNet(classes=3, width=4))
    fit(module, epochs=3)
    assert Counting.explained == 80  # the training samples of MadeUp


def test_frozen_maps_go_on_bit_for_bit(tmp_path: Path) -> None:
    whole, first, second = matching(True), matching(True), matching(True)
    fit(whole, epochs=3)
    fit(first, epochs=1, save=tmp_path / "first.ckpt")
    fit(second, epochs=3, resume=tmp_path / "first.ckpt")
    assert equal(weights(whole.model), weights(second.model))


def test_frozen_maps_need_fixed_views() -> None:
    augmented = next(iter(MadeUp(classes=3, augment=ShiftFlip(1)).train_dataloader()))
    with pytest.raises(ValueError, match="'match' freezes its teacher's maps, which needs batches with index and view"):
        matching(True).prepare(augmented)


def test_frozen_maps_need_an_explainer() -> None:
    with pytest.raises(ValueError, match="needs an explainer"):
        Term(SoftTargets(), frozen_teacher_maps=True)


class Blind(nn.Module):
    """Sees nothing of some samples, so that their maps are zero everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.net = student()

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.net(inputs * (inputs.flatten(1)[:, 0] > 0).float()[:, None, None, None])
        return logits


def test_dead_maps_are_counted_each_epoch() -> None:
    term = Term(ExplanationMatch(), explainer=InputGradient)
    module = Distilled(Blind(), teacher(), {"match": term, "soft": Term(SoftTargets())})
    logged = fit(module, epochs=2).callback_metrics
    dead = sum(int((b["inputs"].flatten(1)[:, 0] <= 0).sum()) for b in data().train_dataloader())
    assert dead > 0
    assert logged["train/match_dead"] == dead
    assert "train/soft_dead" not in logged
    assert "train/match_weight" not in logged


@pytest.mark.parametrize("size", [0.0, 1e-20, 1e-14, 0.9e-12, 1.1e-12, 1e-8])
def test_the_counter_calls_dead_what_the_loss_calls_dead(size: float) -> None:
    teachers = torch.tensor([[1.0, 0.0]])
    students = torch.tensor([[size, 0.0]])
    without_direction = float(ExplanationMatch()(students, teachers)) > 0.5
    assert int(dead_maps(students, teachers)) == int(without_direction)
    assert int(dead_maps(teachers, students.half() if size == 0 else students)) == int(without_direction)


def test_frozen_maps_are_of_all_samples_on_every_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = frozen_maps(teacher(), InputGradient, data(), torch.device("cpu"))
    monkeypatch.setattr("kdlab.data.loader.place", lambda: (1, 2))
    beside_another = frozen_maps(teacher(), InputGradient, data(), torch.device("cpu"))
    index = data().splits["train"]["index"]
    views = torch.zeros_like(index)
    assert torch.equal(alone.rows(index, views), beside_another.rows(index, views))


def test_counts_of_dead_maps_go_on_after_a_resume(tmp_path: Path) -> None:
    term = Term(ExplanationMatch(), explainer=InputGradient)

    class Saves(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "middle.ckpt")

    first = fit(Distilled(Blind(), teacher(), {"match": term}), epochs=1, callbacks=[Saves()])
    again = fit(Distilled(Blind(), teacher(), {"match": term}), epochs=1, resume=tmp_path / "middle.ckpt")
    assert again.callback_metrics["train/match_dead"] == first.callback_metrics["train/match_dead"]


def test_terms_may_ask_for_the_baseline() -> None:
    part = Term(SufficientPart(), explainer=InputGradient)
    module = Distilled(student(), teacher(), {"part": part})
    with pytest.raises(KeyError, match="baseline"):
        module.prepare(batch())
    module.baseline = torch.zeros(1, 8, 8)  # as somebody without a data module does
    module.prepare(batch())
    from_data = Distilled(student(), teacher(), {"part": part})
    fit(from_data, epochs=1)
    assert from_data.baseline is not None
    assert not any("baseline" in name for name in from_data.state_dict())


@pytest.mark.parametrize(("layers", "where"), [({"blok1": "block1"}, "ConvNet"), ({"block1": "blok1"}, "ConvNet")])
def test_a_layer_that_is_not_there_is_said_with_its_term_and_the_nearest(layers: dict[str, str], where: str) -> None:
    module = Distilled(ConvNet(classes=3, width=2), teacher(), {"maps": Term(AttentionTransfer(), layers=layers)})
    with pytest.raises(KeyError, match=rf"term 'maps': no layer '\w+' in {where}; nearest is 'block1'; it has \["):
        module.prepare(batch())


def test_a_black_box_gives_logits_alone() -> None:
    network = MLP(inputs=64, classes=3)
    box = BlackBox(lambda inputs: network(inputs).double().log_softmax(1))
    fit(Distilled(student(), box), epochs=1)
    features = {"maps": Term(AttentionTransfer(), layers={"block1": "block1"})}
    with pytest.raises(ValueError, match="black box and has no layers"):
        Distilled(ConvNet(classes=3, width=2), box, features).prepare(batch())
    match = {"match": Term(ExplanationMatch(), explainer=InputGradient)}
    with pytest.raises(ValueError, match="term 'match': the teacher is a black box and cannot be explained"):
        Distilled(student(), box, match).prepare(batch())


def test_shapes_that_differ_are_said_with_the_term() -> None:
    with pytest.raises(ValueError, match=r"term 'soft': .*\(16, 3\).*\(16, 4\)"):
        Distilled(student(), Teacher(MLP(inputs=64, classes=4))).prepare(batch())
    features = {"maps": Term(AttentionTransfer(), layers={"block1": "block2"})}
    shorter = Teacher(ConvNet(classes=3, width=4))
    shorter.network.get_submodule("block2").register_forward_hook(lambda *given: given[2][:8])
    with pytest.raises(ValueError, match="term 'maps': "):
        Distilled(ConvNet(classes=3, width=2), shorter, features).prepare(batch())
