import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import nn

from kdlab.configuration.experiment import ConfigurationError, read, read_outline
from tests.configuration.examples import write
from tests.experiments import written

OWN = '''
"""A user's module: plain classes that know nothing of kdlab."""
import torch
from torch import nn


class Net(nn.Module):
    """A net."""

    def __init__(self, width=4, classes=10):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, classes))

    def forward(self, inputs):
        return self.layers(inputs)


class Absolute(nn.Module):
    def forward(self, logits, teacher_logits):
        return (logits - teacher_logits).abs().mean()
'''
OWN_SCORE = """
import torchmetrics


class Score(torchmetrics.MeanMetric):
    def update(self, logits):
        super().update(logits)
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    before, path = set(sys.modules), list(sys.path)
    (tmp_path / "own_parts.py").write_text(OWN)
    (tmp_path / "own_score.py").write_text(OWN_SCORE)
    importlib.invalidate_caches()
    yield write(
        tmp_path,
        ("MLP, init_args: {inputs: 64, classes: 10, hidden: [16]}", "own_parts.Net, init_args: {width: 3}"),
        ("{class_path: SoftTargets, init_args: {temperature: 4.0}}", "{class_path: own_parts.Absolute}"),
        ("torchmetrics.MeanSquaredError, takes: {preds: logits, target: teacher_logits}", "own_score.Score"),
    )
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def rewrite(file: Path, code: str) -> None:
    """Another process would find this code; this one forgets what it imported."""
    file.write_text(code)
    sys.modules.pop(file.stem, None)


def prints(file: Path, *overrides: str) -> dict[str, str]:
    experiment = read(file, overrides)
    found: dict[str, str] = {}
    for stage in experiment.stages:
        needs = {name: found[name] for name in experiment.needs(stage, 0)}
        found[stage] = experiment.fingerprints().stage(stage, seed=0, needs=needs, data="content")
    return found


def test_stages_stand_behind_their_teachers(tmp_path: Path) -> None:
    experiment = read(write(tmp_path))
    assert list(experiment.stages) == ["teacher", "student", "baseline", "joint"]
    assert experiment.name == "small"
    assert experiment.probe == 32


def test_a_teacher_has_one_seed_unless_it_varies(tmp_path: Path) -> None:
    experiment = read(write(tmp_path))
    assert experiment.seeds_of("teacher") == [0]
    assert experiment.seeds_of("student") == [0, 1]
    assert experiment.needs("student", 1) == {"teacher": 0}
    varied = read(write(tmp_path, ("  teacher:\n    module", "  teacher:\n    vary: seed\n    module")))
    assert varied.seeds_of("teacher") == [0, 1]
    assert varied.needs("student", 1) == {"teacher": 1}


def test_everything_is_built_from_its_classes(tmp_path: Path) -> None:
    experiment = read(write(tmp_path))
    assert isinstance(experiment.build_data(), L.LightningDataModule)
    model = experiment.build_model("joint")
    module = experiment.build_module("joint", model, None)
    assert isinstance(module, L.LightningModule)
    assert module.model is model
    assert set(experiment.build_metrics()) == {"top3", "mimicry"}
    assert experiment.metric_takes() == {"mimicry": {"preds": "logits", "target": "teacher_logits"}}
    factory = experiment.build_explainer_factory()
    assert factory is not None
    assert factory(model).attribute(torch.rand(2, 64)).shape == (2, 64)
    assert experiment.trainer_arguments("joint") == {"max_epochs": 2, "gradient_clip_val": 0.5}
    first, second = experiment.callbacks("joint")[0], experiment.callbacks("joint")[0]
    assert isinstance(first, EMAWeightAveraging)
    assert first is not second


def test_the_teacher_is_handed_to_the_module(tmp_path: Path) -> None:
    experiment = read(write(tmp_path))
    teacher = object()
    assert experiment.build_module("student", experiment.build_model("student"), teacher).teacher is teacher


def test_what_is_resolved_can_be_run_again_and_is_the_same(tmp_path: Path) -> None:
    file = write(tmp_path)
    experiment = read(file)
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(json.loads(json.dumps(experiment.resolved)), sort_keys=False))
    assert read(again).resolved == experiment.resolved
    assert prints(again) == prints(file)


def test_parameters_have_the_names_that_users_compare_by(tmp_path: Path) -> None:
    parameters = read(write(tmp_path)).parameters("student")
    assert parameters["student.alpha"] == 1.0
    assert parameters["student.distill.soft.temperature"] == 4.0
    assert parameters["student.distill.soft.weight"] == 1.0
    assert parameters["student.model"] == "MLP"
    assert parameters["student.model.hidden"] == "[16]"
    assert parameters["student.optimizer.lr"] == 0.1
    assert parameters["student.module"] == "Distilled"
    assert parameters["student.trainer.max_epochs"] == 2
    assert parameters["data.batch_size"] == 64
    assert not any("init_args" in name for name in parameters)


def test_a_loss_with_a_weight_of_its_own_keeps_its_names_apart(tmp_path: Path) -> None:
    file = write(tmp_path, ("{class_path: SoftTargets}", "{class_path: torch.nn.CrossEntropyLoss}"))
    parameters = read(file, ["joint.distill.soft.loss.reduction=sum"]).parameters("joint")
    assert parameters["joint.distill.soft.reduction"] == "sum"
    assert parameters["joint.distill.soft.loss"] == "CrossEntropyLoss"


def test_a_fingerprint_says_what_the_result_depends_on(tmp_path: Path) -> None:
    file = write(tmp_path)
    plain = prints(file)
    assert all(len(value) == 20 for value in plain.values())

    def changed(*overrides: str) -> set[str]:
        now = prints(file, *overrides)
        return {stage for stage in plain if now[stage] != plain[stage]}

    assert changed("student.alpha=0.3") == {"student"}
    assert changed("teacher.lr=0.1") == {"teacher", "student", "joint"}
    assert changed("data.batch_size=32") == set(plain)
    assert changed("trainer.max_epochs=3") == set(plain)
    assert changed("baseline.labelled=50") == {"baseline"}
    assert changed("student.monitor=val/nll") == {"student"}
    for without_effect in ("name=other", "seeds=5", "evaluate.probe=8", "evaluate.explainer=null", "student.alpha=1.0"):
        assert changed(without_effect) == set()


def test_a_fingerprint_depends_on_seed_and_teacher_but_not_on_the_stages_name(tmp_path: Path) -> None:
    def of(file: Path, stage: str, seed: int, teacher: str) -> str:
        needs = {"teacher": teacher}
        return read(file).fingerprints().stage(stage, seed=seed, needs=needs, data="content")

    file = write(tmp_path)
    first = of(file, "student", 0, "a")
    assert of(file, "student", 1, "a") != first
    assert of(file, "student", 0, "b") != first
    renamed = write(tmp_path, ("  student:\n", "  pupil:\n"), name="renamed.yaml")
    assert of(renamed, "pupil", 0, "a") == first


def test_the_evaluation_has_a_hash_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path)
    plain = read(file).evaluation_hash()
    assert read(file, ["evaluate.probe=8"]).evaluation_hash() != plain
    assert read(file, ["student.alpha=0.3", "seed=4"]).evaluation_hash() == plain


def test_how_often_is_explained_and_no_maps_leave_the_evaluation_as_it_is(tmp_path: Path) -> None:
    plain = read(write(tmp_path))
    rarely = read(write(tmp_path, ("probe: 32", "probe: 32\n  every: 4")))
    assert (plain.every, rarely.every) == (None, 4)
    assert rarely.evaluation_hash() == plain.evaluation_hash()
    drawn = read(write(tmp_path, ("probe: 32", "probe: 32\n  maps: {block1: block2}")))
    assert drawn.maps == {"block1": "block2"}
    assert drawn.evaluation_hash() != plain.evaluation_hash()


def test_a_measure_that_is_left_out_is_another_evaluation(tmp_path: Path) -> None:
    plain = read(write(tmp_path))
    file = write(tmp_path, ("  probe: 32", "    macro_f1: null\n  probe: 32"))
    without = read(file)
    assert (plain.left_out, without.left_out) == ((), ("macro_f1",))
    assert set(without.build_metrics()) == {"top3", "mimicry"}
    assert without.evaluation_hash() != plain.evaluation_hash()
    assert read(file, ["student.alpha=0.3"]).left_out == ("macro_f1",)


def test_weights_count_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"1")
    (tmp_path / "copy.pt").write_bytes(b"1")
    (tmp_path / "other.pt").write_bytes(b"2")
    file = write(tmp_path, ("  teacher:\n    module", "  teacher:\n    weights: net.pt\n    module"))
    assert read(file).stages["teacher"].weights == tmp_path / "net.pt"
    plain = prints(file)["teacher"]
    assert prints(file, "teacher.weights=copy.pt")["teacher"] == plain
    assert prints(file, "teacher.weights=other.pt")["teacher"] != plain
    assert prints(file, "teacher.weights=null")["teacher"] != plain


def test_classes_of_a_users_folder_run_and_their_code_counts(own: Path) -> None:
    experiment = read(own)
    assert type(experiment.build_model("student")).__name__ == "Net"
    assert isinstance(experiment.build_module("student", nn.Identity(), None), L.LightningModule)
    before, evaluation = prints(own), experiment.evaluation_hash()
    source = own.parent / "own_parts.py"
    rewrite(source, OWN.replace('"""A net."""', '"""Another text."""  # and a comment'))
    assert prints(own) == before
    rewrite(source, OWN.replace(".abs()", ".square()"))
    after = prints(own)
    assert {stage for stage in before if after[stage] != before[stage]} == {"student", "baseline", "joint"}
    assert read(own).evaluation_hash() == evaluation
    rewrite(own.parent / "own_score.py", OWN_SCORE.replace("(logits)", "(-logits)"))
    assert read(own).evaluation_hash() != evaluation
    assert prints(own) == after


def test_an_ensemble_needs_each_of_its_teachers(tmp_path: Path) -> None:
    file = write(tmp_path, ("    teacher: teacher", "    teacher: [teacher, baseline]"))
    experiment = read(file)
    assert experiment.stages["student"].teacher == ("teacher", "baseline")
    assert experiment.needs("student", 1) == {"teacher": 0, "baseline": 0}


def test_the_outline_needs_no_types(tmp_path: Path) -> None:
    file = write(tmp_path, ("hidden: [16]", "hidden: wrong"))
    assert list(read_outline(file).stages) == ["teacher", "student", "baseline", "joint"]
    with pytest.raises(ConfigurationError, match=r"small\.yaml:18: student\.model\.hidden: expected list\[int\]"):
        read(file)


def test_a_constructors_refusal_comes_when_it_is_built(tmp_path: Path) -> None:
    experiment = read(write(tmp_path), ["student.temperature=-1", "student.model.hidden=[-3]"])
    with pytest.raises(ConfigurationError, match="SoftTargets refuses its arguments: temperature must be positive"):
        experiment.build_module("student", nn.Identity(), None)
    with pytest.raises(ConfigurationError, match="MLP refuses its arguments: sizes must be positive"):
        experiment.build_model("student")


@pytest.mark.parametrize("key", ["trainer", "evaluate"])
@pytest.mark.parametrize("value", [[], "", False, 0])
def test_what_is_empty_and_no_mapping_is_refused(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"{key}.*(mapping|keys)"):
        read(written(tmp_path, **{key: value}))
