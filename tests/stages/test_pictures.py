"""What a stage's folder shows: results first, pictures behind them, and no picture that costs a number."""

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

import kdlab.stages.pictures
import kdlab.stages.scoring
from kdlab.configuration.experiment import read
from kdlab.errors import Interrupted
from kdlab.explainers.gradient_x_input import GradientXInput
from kdlab.explainers.input_gradient import InputGradient
from kdlab.explainers.integrated_gradients import IntegratedGradients
from kdlab.explainers.kernel_shap import KernelShap
from kdlab.explainers.soft_decision_tree import SoftDecisionTree
from kdlab.modules.joint import Joint
from kdlab.modules.supervised import Supervised
from kdlab.records.stage_records import TestResult
from kdlab.stages.context import Context
from kdlab.stages.figures import attribution_panel
from kdlab.stages.options import Options
from kdlab.stages.pictures import draw
from kdlab.stages.rehearsal import rehearsed_stage
from kdlab.stages.run import Outcome, run
from kdlab.stages.seeded_stage import SeededStage
from tests.data.made_up import MadeUp
from tests.experiments import content, written
from tests.modules.fitting import student, teacher

QUICK = ["seeds=[0]", "trainer.max_epochs=1"]


class NamedSeries(MadeUp):
    """A series whose channels have names, one with signs that matplotlib reads as a formula."""

    def load(self) -> dict[str, dict[str, Tensor]]:
        splits = super().load()
        self.feature_names = [f"price $_{{{number}$" for number in range(self.input_shape[0])]
        return splits


class Kind(NamedSeries):
    """Samples of one shape with every irregularity: names or none, no labels, one class, one sample."""

    def __init__(self, shape: tuple[int, ...], named: bool, labels: str) -> None:
        super().__init__(shape, 3, (12, 6, 1 if labels == "one sample" else 6), batch_size=4)
        self.named, self.labels = named, labels

    def load(self) -> dict[str, dict[str, Tensor]]:
        splits = super().load()
        if not self.named:
            self.feature_names = None
        self.class_names = ["cat", "dog $x$", "$"]
        target = splits["test"]["target"]
        fill = {"none": -1, "one class": 1}.get(self.labels)
        splits["test"]["target"] = target if fill is None else torch.full_like(target, fill)
        if self.labels == "some":
            splits["test"]["target"][::2] = -1
        return splits


class Undefined(InputGradient):
    """An explainer that has no number for some inputs, or for any."""

    def attribute(self, inputs: Tensor, target: Tensor | None = None) -> Tensor:
        found = super().attribute(inputs, target)
        found[0] = math.nan
        found[1:].flatten(1)[:, 0] = math.inf
        return found


SHAPES = [((12,), False), ((12,), True), ((3,), True)]
SHAPES += [((channels, 16), named) for channels in (1, 2, 5) for named in (False, True)]
SHAPES += [((channels, 6, 6), False) for channels in (1, 2, 3, 4)]
LABELS = ["all", "some", "none", "one class", "one sample"]
EXPLAINERS = [InputGradient, GradientXInput, IntegratedGradients, KernelShap, Undefined]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> SeededStage:
    """A stage to be drawn; its data are exchanged."""
    folder = tmp_path_factory.mktemp("drawn")
    found, _ = rehearsed_stage(Context(read(written(folder)), Options(mlruns=folder / "mlruns")), "baseline")
    return replace(found, reference=None)


@pytest.mark.parametrize(("shape", "named"), SHAPES)
def test_every_kind_of_data_is_drawn_whatever_its_labels_and_the_explainer(
    baseline: SeededStage, shape: tuple[int, ...], named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kdlab.stages.pictures, "SAMPLES", 2)
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: figure.canvas.draw() or path.touch())
    network = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3))
    module = Supervised(network, optimizer=torch.optim.SGD).eval()
    seen = 0
    for number, (labels, explainer) in enumerate(
        [*itertools.product(LABELS, EXPLAINERS[:1]), *itertools.product(LABELS[:1], EXPLAINERS[1:])]
    ):
        folder = replace(baseline.folder, path=tmp_path / str(number))
        folder.path.mkdir()
        draw(replace(baseline, data=Kind(shape, named, labels), folder=folder), module, explainer, "e1")
        assert folder.shown("e1") == {"failed": {}}, f"{labels}, {explainer.__name__}"
        seen += len(folder.figures())
    assert seen == len(LABELS) + len(EXPLAINERS) - 1


def test_a_sample_without_label_is_not_given_the_last_class(baseline: SeededStage) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    data = Kind((12,), True, "some")
    data.setup()
    shown = kdlab.stages.pictures._shown(data, data.class_names, network, None)
    unlabelled, labelled = shown.titles[::2], shown.titles[1::2]
    assert len(unlabelled) == len(labelled) == 3
    assert all(title.startswith("no label, said ") for title in unlabelled)
    assert not any("no label" in title for title in labelled)


def test_one_sample_is_shown_once(baseline: SeededStage) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    data = Kind((12,), True, "one sample")
    data.setup()
    assert len(kdlab.stages.pictures._shown(data, data.class_names, network, None).inputs) == 1


def test_features_whose_names_begin_alike_have_a_bar_each() -> None:
    names = [f"a name of which the end tells, {number}" for number in range(4)]
    panel = attribution_panel(torch.zeros(1, 4), {"student": torch.tensor([[1.0, -2.0, 3.0, 4.0]])}, ["cat"], names)
    widths = [bar.get_width() for bar in panel.get_axes()[1].patches]  # type: ignore[attr-defined]
    assert widths == [1.0, -2.0, 3.0, 4.0]


def test_a_named_channel_is_a_line_with_its_name() -> None:
    panel = attribution_panel(torch.rand(2, 3, 8), {"student": torch.rand(2, 3, 8)}, ["a", "b"], ["x", "y", "z"])
    first, attributed = panel.get_axes()[:2]
    assert [len(axes.get_lines()) for axes in (first, attributed)] == [3, 3]
    legend = first.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["x", "y", "z"]


@pytest.fixture(scope="module", autouse=True)
def one_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One MLflow database for all: making one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}")
        yield


def series(folder: Path) -> Path:
    """A teacher and a student on series with named channels."""
    shape = {"inputs": 24, "classes": 3, "hidden": [8]}
    stages = {name: content()["stages"][name] for name in ("teacher", "student")}
    for stage in stages.values():
        stage["module"]["init_args"]["model"] = {"class_path": "MLP", "init_args": shape}
    data = {"class_path": "tests.stages.test_pictures.NamedSeries", "init_args": {"shape": [2, 12], "classes": 3}}
    return written(folder, data=data, stages=stages)


def ran(path: Path) -> Outcome:
    return run(read(path, QUICK), Options(mlruns=path.parent / "mlruns", accelerator="cpu"))


def whole(outcome: Outcome) -> list[TestResult]:
    """What stands of each stage: results, and scores of every sample."""
    found = []
    for one in outcome.nodes:
        results = one.folder.test_result(one.evaluation)
        assert results is not None
        assert (one.folder.path / f"scores-{one.evaluation}.npz").is_file()
        found.append(results)
    return found


def test_a_series_with_named_channels_runs_to_the_end(tmp_path: Path) -> None:
    outcome = ran(series(tmp_path))
    assert len(whole(outcome)) == 2
    assert all([path.name for path in one.folder.figures()] == ["attributions.png"] for one in outcome.nodes)


@pytest.mark.parametrize("error", [*kdlab.stages.pictures.UNDRAWN])
def test_a_picture_that_fails_costs_itself_alone_and_is_said_with_its_reason(
    baseline: SeededStage,
    error: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*given: object) -> Figure:
        raise error("no room\nfor it")

    monkeypatch.setattr(kdlab.stages.pictures, "attribution_panel", fails)
    folder = replace(baseline.folder, path=tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "attributions.png").write_bytes(b"of other weights")
    module = Supervised(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), optimizer=torch.optim.SGD).eval()
    draw(replace(baseline, data=Kind((12,), True, "all"), folder=folder), module, InputGradient, "e1")
    assert capsys.readouterr().out == (
        f"baseline seed 0: figures/attributions.png could not be made ({error.__name__}: no room for it); "
        "its results are whole\n"
    )
    assert folder.shown("e1") == {"failed": {"figures/attributions.png": f"{error.__name__}: no room for it"}}
    assert folder.figures() == []


def test_results_outlive_a_picture_that_fails_and_the_report_gives_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object) -> Figure:
        raise ValueError("too many <columns>")

    monkeypatch.setattr(kdlab.stages.pictures, "attribution_panel", fails)
    outcome = ran(series(tmp_path))
    assert all("test/accuracy" in results.metrics for results in whole(outcome))
    assert all(one.tested for one in outcome.nodes)
    page = outcome.report.html.read_text()
    reason = "figures/attributions.png could not be made (ValueError: too many &lt;columns&gt;)."
    assert f"student, seed 0: {reason}" in page


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_a_stop_between_results_and_pictures_loses_no_number_and_the_next_run_draws_them(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, panel = series(tmp_path), attribution_panel

    def stops(inputs: Tensor, attributions: dict[str, Tensor], *given: Any) -> Figure:
        if stage in attributions and (stage == "student") == (len(attributions) == 2):
            raise KeyboardInterrupt
        return panel(inputs, attributions, *given)

    monkeypatch.setattr(kdlab.stages.pictures, "attribution_panel", stops)
    with pytest.raises(Interrupted):
        ran(path)
    found = sorted((tmp_path / "mlruns" / "stages").glob("*/test-*.json"))
    before = {file: (file.read_text(), file.stat().st_mtime_ns) for file in found}
    assert len(before) == (1 if stage == "teacher" else 2)
    assert len(list((tmp_path / "mlruns" / "stages").glob("*/shown-*.json"))) == len(before) - 1
    monkeypatch.setattr(kdlab.stages.pictures, "attribution_panel", panel)
    outcome = ran(path)
    assert all((file.read_text(), file.stat().st_mtime_ns) == kept for file, kept in before.items())
    assert all(one.tested and one.folder.figures() for one in outcome.nodes)
    assert all(json.loads(file.read_text()) == {"failed": {}} for file in tmp_path.glob("mlruns/stages/*/shown-*.json"))


class Measured(MadeUp):
    """A table of measurements around 500, standardised."""

    def __init__(self) -> None:
        super().__init__((64,), 3)

    def load(self) -> dict[str, dict[str, Tensor]]:
        splits = super().load()
        return self.standardised({split: {**part, "inputs": part["inputs"] + 500} for split, part in splits.items()})


def test_what_is_shown_is_in_the_datas_own_units_and_a_tree_is_written_for_training_and_validation(
    baseline: SeededStage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, drawn = Measured(), []

    def panel(inputs: Tensor, *further: Any) -> Figure:
        drawn.append(inputs)
        return attribution_panel(inputs, *further)

    monkeypatch.setattr(kdlab.stages.pictures, "attribution_panel", panel)
    module = Joint(
        student(), lambda model: SoftDecisionTree(model, 64, 3, depth=2, preparation=data.preparation), teacher()
    ).eval()
    draw(
        replace(baseline, data=data, folder=replace(baseline.folder, path=tmp_path)),
        module,
        InputGradient,
        "e1",
    )
    (inputs,) = drawn
    assert 450 < float(inputs.min()) < float(inputs.max()) < 550
    first = (tmp_path / "explainer.txt").read_text().splitlines()[0]
    assert first.startswith("# agrees with the tree on ")
    assert "of 80 training samples and " in first
    assert first.endswith("of 40 validation samples")
    assert (tmp_path / "figures" / "explainer.png").is_file()
