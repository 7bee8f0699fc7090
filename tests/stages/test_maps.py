"""Where layers are active and what they attend to, as planes that can be drawn."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from kdlab.configuration.experiment import read
from kdlab.errors import ConfigurationError
from kdlab.models.conv_net import ConvNet
from kdlab.models.transformer import Transformer
from kdlab.stages.maps import check_maps, maps_of, plane
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse
from kdlab.stages.run import run
from kdlab.teacher import BlackBox, Teacher
from tests.experiments import content, written

IMAGES = torch.rand(3, 1, 8, 8)


def test_a_feature_map_is_the_mean_of_its_channels_squares() -> None:
    # Two channels of 1 x 2: (1, -2) and (3, 0) square to (1, 4) and (9, 0); their means are 5 and 2.
    tensor = torch.tensor([[[[1.0, -2.0]], [[3.0, 0.0]]]])
    assert plane("block1", tensor).tolist() == [[[5.0, 2.0]]]


def test_attention_is_the_mean_of_its_heads() -> None:
    # Two heads with one query each over two keys.
    tensor = torch.tensor([[[[1.0, 0.0]], [[0.5, 0.5]]]])
    assert plane("encoder.self_attn:weights", tensor).tolist() == [[[0.75, 0.25]]]


def test_pairs_of_layers_come_with_the_teachers_first_and_leave_nothing_behind() -> None:
    student, teacher = ConvNet(classes=3, width=2).train(), Teacher(ConvNet(classes=3, width=4))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    ((of_teacher, own),) = maps_of(student, teacher, IMAGES, {"block2": "block1"})
    assert of_teacher.shape == (3, 8, 8)
    assert own.shape == (3, 4, 4)
    assert not own.requires_grad
    assert (own >= 0).all()
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert not any(module._forward_hooks for module in student.modules())
    with torch.no_grad():
        expected = student.eval().block1(IMAGES)
        expected = student.block2(student.pool1(expected)).square().mean(dim=1)
    torch.testing.assert_close(own, expected)


def test_attention_maps_of_two_transformers_are_rows_that_sum_to_one() -> None:
    student = Transformer((1, 8, 8), 3, patch=4, width=8, depth=1, heads=2)
    teacher = Teacher(Transformer((1, 8, 8), 3, patch=2, width=8, depth=2, heads=4))
    layers = {"blocks.0.attention:weights": "blocks.1.attention:weights"}
    ((of_teacher, own),) = maps_of(student, teacher, IMAGES, layers)
    assert own.shape == (3, 4, 4)
    assert of_teacher.shape == (3, 16, 16)
    torch.testing.assert_close(own.sum(dim=2), torch.ones(3, 4))


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ({"blok1": "block1"}, "evaluate.maps: no layer 'blok1' in ConvNet; nearest is 'block1'"),
        ({"block1": "block9"}, "evaluate.maps: no layer 'block9' in ConvNet; nearest is"),
        ({"flatten": "block1"}, "evaluate.maps: layer 'flatten' gives (3, 4), which is no map"),
        ({"block1:weights": "block1"}, "evaluate.maps: layer 'block1' is Sequential; only nn.MultiheadAttention"),
        ({"block1:wights": "block1"}, "evaluate.maps: layer 'block1:wights' asks for 'wights'"),
    ],
)
def test_a_layer_that_cannot_be_drawn_is_refused_with_the_key(layers: dict[str, str], said: str) -> None:
    student, teacher = ConvNet(classes=3, width=2), Teacher(ConvNet(classes=3, width=2))
    with pytest.raises((KeyError, ValueError, TypeError), match=re.escape(said)):
        check_maps(student, teacher, IMAGES, layers)


def test_a_black_box_has_no_maps() -> None:
    with pytest.raises(ValueError, match=r"evaluate\.maps: the teacher is a black box"):
        check_maps(ConvNet(classes=3, width=2), BlackBox(nn.Linear(64, 3)), IMAGES, {"block1": "block1"})


def convolutional(folder: Path, maps: dict[str, str]) -> Path:
    """A teacher and a smaller student of its kind."""
    stages = {name: content()["stages"][name] for name in ("teacher", "student")}
    stages["student"]["module"]["init_args"]["model"] = {
        "class_path": "ConvNet",
        "init_args": {"classes": 3, "width": 2},
    }
    return written(folder, stages=stages, evaluate={**content()["evaluate"], "maps": maps})


def test_a_wrong_layer_is_refused_before_anything_trains(tmp_path: Path) -> None:
    file = convolutional(tmp_path, {"block3": "block1"})
    with pytest.raises(ConfigurationError, match=r"stage 'student': evaluate\.maps: no layer 'block3'") as refused:
        rehearse(read(file), Options(mlruns=tmp_path / "mlruns"))
    assert "\n" not in str(refused.value)


def test_the_picture_lies_beside_the_attributions_of_the_first_seed_and_in_the_report(tmp_path: Path) -> None:
    file = convolutional(tmp_path, {"block1": "block1", "block2": "block2"})
    outcome = run(read(file, ["trainer.max_epochs=1"]), Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    pictures = {(one.stage, one.seed): [path.name for path in one.folder.figures()] for one in outcome.nodes}
    assert pictures == {
        ("teacher", 0): ["attributions.png"],  # nobody stands beside it
        ("student", 0): ["attributions.png", "maps.png"],
        ("student", 1): [],
    }
    assert "student, seed 0: maps" in outcome.report.html.read_text()
