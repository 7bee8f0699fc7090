"""Chains of stages: assistants, generations, several teachers, self-teachers, students explained afterwards."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import kdlab.stages.training
from kdlab.configuration.experiment import Experiment, read
from kdlab.errors import ConfigurationError
from kdlab.records.stage_folder import StageFolder
from kdlab.stages.checkpoints import Checkpoints
from kdlab.stages.context import plan
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse
from kdlab.stages.run import Outcome, run
from tests.experiments import SOFT, STUDENT, content, stage, written

SURROGATE = {"class_path": "NeuralSurrogate", "init_args": {"inputs": 64, "classes": 3, "hidden": [8]}}


def chain() -> dict[str, Any]:
    """Stages that need each other in every way there is."""
    given = content()["stages"]
    distilled = stage("Distilled", STUDENT, distill=SOFT)
    surrogate = {"explainer": SURROGATE, "distill": SOFT}
    weighted = {"class_path": "MeanOfProbabilities", "init_args": {"weights": [1.0, 3.0]}}
    ema = {"class_path": "EMA", "init_args": {"decay": 0.9}}
    schedule = {"class_path": "LinearWarmUp", "init_args": {"epochs": 2}}
    maps = {
        "loss": {"class_path": "ExplanationMatch"},
        "explainer": {"class_path": "InputGradient"},
        "frozen_teacher_maps": True,
        "schedule": schedule,
    }
    return {
        "teacher": given["teacher"],
        "assistant": {"teacher": "teacher", "module": stage("Distilled", STUDENT, distill=SOFT)},
        "student": {"teacher": "assistant", "labelled": 12, "module": distilled},
        "second": {"teacher": "student", "labelled": 12, "module": distilled},
        "both": {"teacher": ["teacher", "assistant"], "combine": weighted, "labelled": 12, "module": distilled},
        "alone": {
            "labelled": 12,
            "callbacks": [{"class_path": "Balance", "init_args": {"every_n_steps": 2}}],
            "module": stage("Distilled", STUDENT, self_teacher=ema, distill=SOFT),
        },
        "reasons": {
            "teacher": "teacher",
            "labelled": 12,
            "module": stage("Distilled", STUDENT, distill={**SOFT, "maps": maps}),
        },
        "helped": {
            "teacher": "teacher",
            "labelled": 12,
            "module": stage("Joint", STUDENT, **surrogate, masked_share=0.5, help_back=0.1),
        },
        "afterwards": {
            "start": "second",
            "monitor": "val/explainer/agreement",
            "module": stage("Joint", STUDENT, **surrogate, freeze=True),
        },
    }


def made(folder: Path, changes: dict[str, Any] | None = None, seeds: Sequence[int] = (0,)) -> Experiment:
    return read(written(folder, stages=changes or chain(), seeds=list(seeds)))


@pytest.fixture(scope="module", autouse=True)
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One MLflow database for all: making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
        yield


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("experiment")
    return run(made(folder), Options(mlruns=folder / "mlruns", accelerator="cpu"))


def folder_of(outcome: Outcome, name: str) -> StageFolder:
    return next(planned.folder for planned in outcome.nodes if planned.stage == name)


def last(outcome: Outcome, name: str) -> dict[str, float]:
    logged: dict[str, float] = {}
    for point in folder_of(outcome, name).points():
        logged |= point["metrics"]
    return logged


def test_an_assistant_and_a_generation_are_stages_like_any_other(outcome: Outcome) -> None:
    assert [planned.stage for planned in outcome.nodes] == list(chain())
    for planned in outcome.nodes:
        assert planned.folder.done is not None
        assert planned.folder.test_result(planned.evaluation) is not None
    assert folder_of(outcome, "second").record.teacher == folder_of(outcome, "student").fingerprint


def test_a_frozen_student_is_the_one_it_started_from_bit_for_bit(outcome: Outcome) -> None:
    before, after = (
        load_file(folder_of(outcome, name).path / "model.safetensors") for name in ("second", "afterwards")
    )
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert any(name.startswith("explainer.") for name in after)
    assert folder_of(outcome, "afterwards").record.start == folder_of(outcome, "second").fingerprint


def test_what_terms_log_stands_in_the_stages_folder(outcome: Outcome) -> None:
    alone, reasons = last(outcome, "alone"), last(outcome, "reasons")
    assert alone["train/balance/task"] + alone["train/balance/soft"] == pytest.approx(1.0, abs=1e-5)
    assert reasons["train/maps_weight"] == 1.0
    assert reasons["train/maps_dead"] == 0.0
    assert last(outcome, "helped")["train/help_back"] > 0


def test_a_self_taught_stage_exports_no_average(outcome: Outcome) -> None:
    assert not any("average" in name for name in load_file(folder_of(outcome, "alone").path / "model.safetensors"))


def test_a_changed_start_trains_again_what_starts_from_it(outcome: Outcome) -> None:
    folder = folder_of(outcome, "teacher").path.parents[2]
    changed = read(folder / "made_up.yaml", ["second.alpha=0.5"])
    untrained = {one.stage for one in plan(changed, Options(mlruns=folder / "mlruns")) if not one.trained}
    assert untrained == {"second", "afterwards"}


def test_a_changed_combination_trains_again_what_learns_from_it(outcome: Outcome) -> None:
    folder = folder_of(outcome, "teacher").path.parents[2]
    changed = read(folder / "made_up.yaml", ["both.combine.weights=[1.0, 1.0]"])
    untrained = {one.stage for one in plan(changed, Options(mlruns=folder / "mlruns")) if not one.trained}
    assert untrained == {"both"}


def test_a_start_keeps_its_seed(tmp_path: Path) -> None:
    planned = plan(made(tmp_path, seeds=[3, 4]), Options(mlruns=tmp_path / "mlruns", only=("afterwards",)))
    assert [(one.stage, one.seed) for one in planned] == [
        ("teacher", 0),
        ("assistant", 0),
        ("student", 0),
        ("second", 3),
        ("second", 4),
        ("afterwards", 3),
        ("afterwards", 4),
    ]


class Killed(BaseException):
    """What a killed process would leave: no handler runs for it here."""


@pytest.mark.parametrize("name", ["alone", "reasons", "helped", "afterwards"])
def test_an_interrupted_stage_goes_on_bit_for_bit(
    outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A checkpoint at each step; the training is cut in the middle of its second epoch."""
    start, seen = Checkpoints.on_train_batch_start, {"steps": 0}

    def dies(self: Checkpoints, trainer: Any, module: Any, *arguments: Any) -> None:
        start(self, trainer, module, *arguments)
        seen["steps"] += trainer.global_step == 7
        if seen["steps"] == 1 and self._folder.fingerprint == folder_of(outcome, name).fingerprint:
            seen["steps"] = 2
            raise Killed

    monkeypatch.setattr(kdlab.stages.training, "CHECKPOINT_SECONDS", 0.0)
    experiment = made(tmp_path)
    options = Options(mlruns=tmp_path / "mlruns", accelerator="cpu", only=(name,))
    needed = [one.stage for one in plan(experiment, options) if one.stage != name]
    if needed:
        run(experiment, Options(mlruns=tmp_path / "mlruns", accelerator="cpu", only=tuple(needed)), testing=False)
    monkeypatch.setattr(Checkpoints, "on_train_batch_start", dies)
    with pytest.raises(Killed):
        run(experiment, options)
    resumed = run(experiment, options)
    assert seen["steps"] >= 2
    one, other = (load_file(folder_of(o, name).path / "model.safetensors") for o in (outcome, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert last(outcome, name) == last(resumed, name)


def test_a_rehearsal_says_the_balance_of_every_term(tmp_path: Path) -> None:
    lines = rehearse(made(tmp_path), Options(mlruns=tmp_path / "mlruns"))
    assert not (tmp_path / "mlruns").exists()
    after = lines[next(n for n, line in enumerate(lines) if line.startswith("afterwards")) + 1 :]
    assert [line.split()[0] for line in after] == ["explainer/imitation", "explainer/consistency"]
    assert all("not for the student" in line for line in after)


def changed(name: str, **keys: Any) -> dict[str, Any]:
    stages = chain()
    stages[name] = {key: value for key, value in {**stages[name], **keys}.items() if value is not None}
    return stages


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (changed("afterwards", start="secnd"), r"no other stage 'secnd' \(did you mean 'second'\?\)"),
        (changed("afterwards", start="afterwards"), "no other stage 'afterwards'"),
        (changed("second", start="afterwards"), "need each other in a circle"),
        (changed("student", combine={"class_path": "MeanOfLogits"}), r"combine makes one teacher of several"),
        (changed("both", combine="mean"), "expected {class_path"),
        (changed("alone", combine={"class_path": "MeanOfLogits"}), "combine makes one teacher of several"),
    ],
)
def test_a_wrong_key_is_refused_when_the_file_is_read(tmp_path: Path, stages: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        made(tmp_path, stages)


LAYERS = {"maps": {"loss": {"class_path": "AttentionTransfer"}, "layers": {"net.0": "blok1"}}}
IMAGES = {"class_path": "ConvNet", "init_args": {"classes": 3, "width": 2}}


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (changed("afterwards", monitor=None), "freezes its student, so val/accuracy is the same in all epochs"),
        (changed("afterwards", start=None), "freezes an untrained student; name its stage, as start: STAGE"),
        (
            changed("afterwards", module=stage("Joint", IMAGES, explainer=SURROGATE, freeze=True)),
            "weights of stage 'second' do not fit ConvNet",
        ),
        (
            changed("both", combine={"class_path": "MeanOfLogits", "init_args": {"weights": [1, 1, 1]}}),
            "stage 'both': .*3 weights for 2 teachers",
        ),
        (
            changed(
                "student",
                teacher="teacher",
                module=stage("Distilled", IMAGES, distill={"maps": {**LAYERS["maps"], "layers": {"block1": "blok1"}}}),
            ),
            "stage 'student': term 'maps': no layer 'blok1' in ConvNet; nearest is 'block1'",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_one_line_before_anything_trains(
    tmp_path: Path, stages: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        run(made(tmp_path, stages), Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    assert "\n" not in str(refused.value)
    assert not list((tmp_path / "mlruns" / "stages").glob("*/done.json"))
