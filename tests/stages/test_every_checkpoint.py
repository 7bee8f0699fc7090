"""A stage goes on from each of its checkpoints to the same weights, chosen epoch and journal, bit for bit."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.experiments import SOFT, stage
from tests.stages.resumes import bench, check_every_checkpoint, place

DROPOUT = {"class_path": "MLP", "init_args": {"inputs": 64, "classes": 3, "hidden": [8], "dropout": 0.5}}
IMAGE = {"class_path": "ConvNet", "init_args": {"classes": 3, "width": 4}}
BATCHES = [1, 2, 3, 4]
EPOCHS = [(1, 0), (2, 0)]
#: Of three epochs of five batches.
EVERYWHERE = [(0, n) for n in BATCHES] + [(e, n) for e in (1, 2) for n in (0, *BATCHES)]

COSINE = {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 3}}
EMA = {"class_path": "kdlab.modules.ema.EMA", "init_args": {"decay": 0.9}}
CRD = {
    "loss": {"class_path": "CRD", "init_args": {"samples": 80, "negatives": 8, "width": 4}},
    "layers": {"relu1": "block2"},
}


def lone(*callbacks: str | dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """One stage that draws random numbers."""
    own = [{"class_path": one} if isinstance(one, str) else one for one in callbacks]
    return {"alone": {"module": stage("Supervised", DROPOUT, **arguments), "callbacks": own}}


def taught(kind: str, callbacks: list[str] = [], **arguments: Any) -> dict[str, Any]:  # noqa: B006 - read only
    teacher = {"module": stage("Supervised", IMAGE), "trainer": {"max_epochs": 1}}
    student = {"teacher": "teacher", "module": stage(kind, DROPOUT, **arguments)}
    return {"teacher": teacher, "student": {**student, "callbacks": [{"class_path": one} for one in callbacks]}}


def lightnings(name: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": arguments}


def somebodys(**arguments: Any) -> dict[str, Any]:
    return {"data": {"class_path": "tests.stages.parts.Somebodys", "init_args": arguments}}


def own_module(name: str, **arguments: Any) -> dict[str, Any]:
    return {"alone": {"module": {"class_path": f"tests.stages.parts.{name}", "init_args": arguments}}}


def trainer(**arguments: Any) -> dict[str, Any]:
    return {"trainer": {"max_epochs": 3, **arguments}}


SHAPLEY = {
    "class_path": "AmortisedShapley",
    "init_args": {"shape": [1, 8, 8], "classes": 3, "hidden": [8], "coalitions": 2, "average": 0.9},
}

#: Stages, what else the experiment says, and where its checkpoints are.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[tuple[int, int]]]] = {
    "accumulation": (
        lone(),
        trainer(accumulate_grad_batches=2),
        [(0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0), (2, 2), (2, 4)],
    ),
    "validation each second epoch": (lone(), trainer(check_val_every_n_epoch=2), EVERYWHERE),
    "validation each two batches": (lone(), trainer(val_check_interval=2), EVERYWHERE),
    "validation at a fraction": (lone(), trainer(val_check_interval=0.4), EVERYWHERE),
    "a limit of steps": (lone(), {"trainer": {"max_steps": 13}}, EVERYWHERE[:-2]),
    "steps and epochs limited, with accumulation": (
        lone(),
        {"trainer": {"max_steps": 8, "max_epochs": 5, "accumulate_grad_batches": 2}},
        [(0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 0), (2, 2)],
    ),
    "explained when it is time": (
        lone(),
        {"evaluate": {"explainer": {"class_path": "InputGradient"}, "probe": 2, "every": 2}},
        EVERYWHERE,
    ),
    "a scheduler by epochs": (lone(scheduler=COSINE), {}, EVERYWHERE),
    "a scheduler by steps": (lone(scheduler=COSINE, scheduler_every_step=True), {}, EVERYWHERE),
    "somebody's shuffling loader": (lone(), somebodys(), EPOCHS),
    "a loader with a generator of its own": (lone(), somebodys(own_generator=True), EPOCHS),
    "loaders made anew each epoch": (lone(), somebodys() | trainer(reload_dataloaders_every_n_epochs=1), EPOCHS),
    "loaders made anew each second epoch": (
        lone(),
        somebodys() | trainer(reload_dataloaders_every_n_epochs=2),
        [(2, 0)],
    ),
    "loader workers": (lone(), somebodys(workers=1), EPOCHS),
    "workers that live on": (lone(), somebodys(workers=1, persistent=True), EPOCHS),
    "a callback that draws": (lone("tests.stages.parts.Jitter"), {}, EPOCHS),
    "a callback that counts epochs": (lone("tests.stages.parts.Decay"), {}, EPOCHS),
    "a callback and a loader that draw": (lone("tests.stages.parts.Jitter"), somebodys(), EPOCHS),
    "stochastic weight averaging": (
        lone(lightnings("StochasticWeightAveraging", swa_lrs=0.05, swa_epoch_start=2), scheduler=COSINE),
        {},
        [(1, 0)],
    ),
    "averaged weights": (lone(lightnings("EMAWeightAveraging", decay=0.5)), {}, EVERYWHERE),
    "weights averaged from a step on": (
        lone(lightnings("EMAWeightAveraging", update_starting_at_step=6)),
        {},
        EVERYWHERE,
    ),
    "stopping early": (
        lone(lightnings("EarlyStopping", monitor="val/nll", patience=1, min_delta=10.0)),
        {"trainer": {"max_epochs": 8, "min_epochs": 3}},
        EVERYWHERE,
    ),
    "accumulation by a schedule": (
        lone(lightnings("GradientAccumulationScheduler", scheduling={1: 2})),
        {},
        EPOCHS,
    ),
    "the balance of terms": (taught("Distilled", distill=SOFT, callbacks=["Balance"]), {}, EVERYWHERE),
    "a time limit": (lone(), trainer(max_time={"hours": 1}), EVERYWHERE),
    "a plateau": (own_module("Plateau", model=DROPOUT), trainer(check_val_every_n_epoch=2), EPOCHS),
    "a plateau by steps": (
        own_module("Plateau", model=DROPOUT, interval="step"),
        trainer(val_check_interval=2),
        EPOCHS,
    ),
    "somebody's module": (own_module("Plain", model=DROPOUT), {}, EPOCHS),
    "a self-teacher": (
        {"alone": {"module": stage("Distilled", DROPOUT, self_teacher=EMA, distill=SOFT)}},
        {},
        EVERYWHERE,
    ),
    "CRD's memory": (taught("Distilled", distill={**SOFT, "crd": CRD}), {}, EVERYWHERE),
    "joint Shapley values": (taught("Joint", distill=SOFT, explainer=SHAPLEY), {}, EVERYWHERE),
    "a fitted rule tree": (
        taught("Joint", distill=SOFT, explainer={"class_path": "RuleTree", "init_args": {"inputs": 64, "classes": 3}}),
        {},
        EVERYWHERE,
    ),
}

#: Those that take a second or two.
QUICK = [name for name, (_, changes, places) in CASES.items() if len(places) < 3 and "workers" not in name]
pytestmark = pytest.mark.filterwarnings(
    "ignore:ReduceLROnPlateau conditioned on metric val/accuracy which is not available",
    "ignore:.*a module that overrides the configure",
)


def test_dropout_on_one_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = bench(tmp_path, monkeypatch, lone())
    copies = check_every_checkpoint(one, monkeypatch, tmp_path / "kept")
    assert [place(copy) for copy in copies] == EVERYWHERE


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
@pytest.mark.timeout(300)
def test_what_draws_and_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    stages, changes, places = CASES[name]
    one = bench(tmp_path, monkeypatch, stages, **changes)
    copies = check_every_checkpoint(one, monkeypatch, tmp_path / "kept")
    assert [place(copy) for copy in copies] == places
    said = [record.getMessage() for record in caplog.records if record.name == "kdlab.stages.checkpoints"]
    assert bool(said) == all(batches == 0 for _, batches in places)
    # Once in the training that makes all checkpoints, and in each of those that go on from one.
    assert all(count <= 1 + len(copies) for count in Counter(said).values())
