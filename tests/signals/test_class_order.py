"""Logits mean what their place says; where names tell that it is another, training does not begin."""

from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from torch import nn

from kdlab.configuration.experiment import read
from kdlab.errors import ConfigurationError
from kdlab.explainers.input_gradient import InputGradient
from kdlab.modules.distilled import Distilled
from kdlab.records.weights import classes_in, save_weights
from kdlab.signals.outputs import Reordered
from kdlab.stages.options import Options
from kdlab.stages.run import run
from kdlab.teacher import BlackBox, Ensemble, Teacher
from tests.data.made_up import MadeUp
from tests.experiments import content, written
from tests.modules.fitting import batch, student, teacher

NAMES, OTHER = ["cat", "dog", "owl"], ["dog", "owl", "cat"]


class Animals(MadeUp):
    """Classes with names."""

    def load(self) -> Any:
        self.class_names = list(NAMES)
        return super().load()


def fit(taught: Teacher) -> float:
    torch.manual_seed(0)
    module = Distilled(student(), taught)
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu",
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=Animals(classes=3, batch_size=16))
    return float(trainer.callback_metrics["train/soft"])


def test_a_teacher_of_another_order_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match="logit 0 is of 'dog' and 'cat' is needed there; wrap the network as"):
        fit(Teacher(teacher().network, class_names=OTHER))


@pytest.mark.parametrize("names", [["cat", "dog"], ["cat", "dog", "fox"]])
def test_a_teacher_of_other_classes_is_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="the teacher knows the classes"):
        fit(Teacher(teacher().network, class_names=names))


def test_a_black_box_is_no_exception() -> None:
    with pytest.raises(ValueError, match="in another order"):
        fit(BlackBox(teacher().network, class_names=OTHER))


def test_teachers_of_an_ensemble_agree_on_the_order() -> None:
    one = Teacher(teacher().network, class_names=NAMES)
    with pytest.raises(ValueError, match="a teacher of the ensemble has its classes in another order"):
        Ensemble([one, Teacher(teacher().network, class_names=OTHER)])
    assert Ensemble([Teacher(teacher().network), one]).class_names == NAMES


def test_a_reordered_teacher_teaches_what_one_in_the_datas_order_teaches() -> None:
    plain = teacher().network
    moved = Reordered(Reordered(plain, NAMES, OTHER), OTHER, NAMES)
    inputs = batch()["inputs"]
    assert torch.equal(Reordered(plain, NAMES, OTHER)(inputs), plain(inputs)[:, [1, 2, 0]])
    wanted = fit(Teacher(plain, class_names=NAMES))
    assert fit(Teacher(moved, class_names=NAMES)) == wanted
    explained = torch.zeros(len(inputs), dtype=torch.long)
    of_moved = Teacher(Reordered(plain, NAMES, OTHER)).attributions(inputs, explained, InputGradient)
    torch.testing.assert_close(of_moved, Teacher(plain).attributions(inputs, explained + 1, InputGradient))


@pytest.mark.parametrize("found", [["cat", "dog"], ["cat", "cat", "dog"]])
def test_names_that_do_not_map_are_refused(found: list[str]) -> None:
    with pytest.raises(ValueError, match="name each class once"):
        Reordered(nn.Identity(), found, [*found[:-1], "owl"] if len(set(found)) == len(found) else found)


def with_weights(folder: Path, names: list[str] | None) -> Path:
    network = teacher().network
    save_weights(folder / "teacher.safetensors", network.state_dict(), names)
    stages = {"teacher": {**content()["stages"]["teacher"], "weights": "teacher.safetensors"}}
    stages["teacher"]["trainer"] = {"max_epochs": 0}
    data = {"class_path": "tests.signals.test_class_order.Animals", "init_args": {"classes": 3, "batch_size": 16}}
    return written(folder, data=data, stages=stages, seeds=[0])


def test_weights_of_another_order_are_refused_with_the_stages_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"stage 'teacher': who trained the weights .* in another order"):
        run(read(with_weights(tmp_path, OTHER)), Options(mlruns=tmp_path / "mlruns"))


@pytest.mark.parametrize("names", [None, NAMES])
def test_weights_keep_the_names_of_the_classes(tmp_path: Path, names: list[str] | None) -> None:
    (one,) = run(read(with_weights(tmp_path, names)), Options(mlruns=tmp_path / "mlruns")).nodes
    assert classes_in(one.folder.weights) == NAMES
