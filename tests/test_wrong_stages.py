"""What a stage cannot do is said with its name, in one line, before anything trains."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdlab.configuration.experiment import read
from kdlab.errors import ConfigurationError
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.experiments import SOFT, STUDENT, content, stage, written


class Box(nn.Module):
    """A black box: predictions without a gradient."""

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(1)[:, :3] * 1.0


BOX = {"trainer": {"max_epochs": 0}, "module": stage("Supervised", {"class_path": "tests.test_wrong_stages.Box"})}
TEACHER = content()["stages"]["teacher"]
WHY = {"why": {"loss": {"class_path": "ExplanationMatch"}, "explainer": {"class_path": "InputGradient"}}}


def student(**changes: Any) -> dict[str, Any]:
    arguments = {"distill": SOFT, **changes}
    model = arguments.pop("model", STUDENT)
    return {"teacher": arguments.pop("teacher", "teacher"), "module": stage("Distilled", model, **arguments)}


def mlp(inputs: int) -> dict[str, Any]:
    return {"class_path": "MLP", "init_args": {"inputs": inputs, "classes": 3}}


CONV = {"class_path": "ConvNet", "init_args": {"classes": 3, "width": 4, "channels": 3}}
GRAD_CAM = {"explainer": {"class_path": "GradCam", "init_args": {"layer": "block2"}}, "probe": 16}

#: The stages, the evaluation, and what the line must say.
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any] | None, list[str]]] = {
    "inputs of another width": (
        {"teacher": TEACHER, "student": student(model=mlp(63))},
        None,
        ["stage 'student': its model (MLP)", "(1, 8, 8), which is 64 values", "Linear(in_features=63", "given (2, 64)"],
    ),
    "inputs of other channels": (
        {"teacher": TEACHER, "student": student(model=CONV)},
        None,
        ["stage 'student': its model (ConvNet)", "Conv2d(3, 4", "given (2, 1, 8, 8)"],
    ),
    "a black box that evaluate's explainer cannot explain": (
        {"first": TEACHER, "box": BOX, "student": student(teacher="box")},
        None,
        ["stage 'box'", "no gradient"],
    ),
    "a black box that a term's explainer cannot explain": (
        {"first": TEACHER, "box": BOX, "student": student(teacher="box", distill=WHY)},
        {},
        ["stage 'student': term 'why'", "no gradient"],
    ),
    "an explainer of a layer that one stage lacks": (
        {"teacher": TEACHER, "student": student()},
        GRAD_CAM,
        ["stage 'student'", "evaluate.explainer", "no layer 'block2' in MLP"],
    ),
    "a term with a name that is taken": (
        {"teacher": TEACHER, "student": student(distill={"keys": SOFT["soft"]})},
        None,
        [": student:", "a term cannot be called 'keys'"],
    ),
    "a term called as the task": (
        {"teacher": TEACHER, "student": student(distill={"task": SOFT["soft"]})},
        None,
        [": student:", "a term cannot be called 'task'"],
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_said_before_anything_trains(tmp_path: Path, what: str) -> None:
    stages, evaluate, said = WRONG[what]
    changes = {} if evaluate is None else {"evaluate": evaluate}
    path, options = written(tmp_path, stages=stages, seeds=[0], **changes), Options(mlruns=tmp_path / "mlruns")
    with pytest.raises(ConfigurationError) as refused:
        run(read(path), options)
    line = str(refused.value)
    assert "\n" not in line
    assert [part for part in said if part not in line] == []
    assert not list(tmp_path.glob("mlruns/stages/*/metrics.jsonl"))


def test_a_stage_is_trained_behind_the_teacher_that_it_is_compared_with_wherever_that_stands(tmp_path: Path) -> None:
    stages = content()["stages"]
    first = {"baseline": stages["baseline"], "teacher": stages["teacher"], "student": stages["student"]}
    context = Context(read(written(tmp_path, stages=first)), Options(mlruns=tmp_path / "mlruns"))
    assert list(dict.fromkeys(one.stage for one in context.plan())) == ["teacher", "baseline", "student"]


# What a teacher's cache keeps


def fingerprints(folder: Path, cache: object) -> dict[str, str]:
    stages = content()["stages"]
    stages["teacher"] = {**stages["teacher"], "cache": cache}
    context = Context(read(written(folder, stages=stages)), Options(mlruns=folder / "mlruns"))
    return {name: context.graph.node(name, 0).fingerprint for name in stages}


@pytest.mark.parametrize("cache", [{"top_k": 2}, {"dtype": "float16"}, {"top_k": 2, "dtype": "float32"}])
def test_what_the_cache_leaves_out_trains_the_students_again_and_not_the_teacher(
    tmp_path: Path, cache: dict[str, Any]
) -> None:
    before, after = fingerprints(tmp_path, None), fingerprints(tmp_path, cache)
    assert {name for name in before if before[name] != after[name]} == {"student", "joint"}


def test_a_cache_that_leaves_out_nothing_trains_nothing(tmp_path: Path) -> None:
    assert fingerprints(tmp_path, None) == fingerprints(tmp_path, {"dtype": "float32"}) == fingerprints(tmp_path, {})


@pytest.mark.parametrize(
    ("cache", "said"),
    [
        ({"topk": 2}, "cache has no key 'topk' (did you mean 'top_k'?)"),
        ({"top_k": 0}, "top_k: expected a whole number of at least 1"),
        ({"dtype": "int8"}, "dtype: expected float16 or float32, got 'int8'"),
    ],
)
def test_a_wrong_cache_is_refused(tmp_path: Path, cache: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        fingerprints(tmp_path, cache)
    assert said in str(refused.value)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_student_is_trained_on_what_the_cache_keeps(tmp_path: Path) -> None:
    cached = {**TEACHER, "cache": {"top_k": 1, "dtype": "float16"}}
    found = {}
    for name, teacher in {"whole": TEACHER, "kept": cached}.items():
        path = written(tmp_path, stages={"teacher": teacher, "student": student()}, seeds=[0])
        outcome = run(read(path), Options(mlruns=tmp_path / "mlruns"))
        (trained,) = [one for one in outcome.nodes if one.stage == "student"]
        found[name] = [
            line for line in (trained.folder.path / "metrics.jsonl").read_text().splitlines() if "train/soft" in line
        ]
        assert found[name]
    assert found["whole"] != found["kept"]
    files = {path.name for path in tmp_path.glob("mlruns/stages/*/soft_labels*")}
    assert files == {f"soft_labels.{kind}" for kind in ("npy", "json", "top1-float16.npy", "top1-float16.json")}
