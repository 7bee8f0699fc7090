"""A stage's module: initial weights have an address, which is the seed and nothing else."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from kdlab.configuration.experiment import read
from kdlab.errors import StageError
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.teacher import Teacher
from tests.experiments import content, written


def initial(folder: Path, stage: str, seed: int) -> list[Tensor]:
    """The weights of a stage before its first step, built in whatever random state there is."""
    baseline = content()["stages"]["baseline"]
    stages = {"baseline": baseline, "again": {**baseline, "labelled": 24}}
    context = Context(read(written(folder, stages=stages)), Options(mlruns=folder / "mlruns", accelerator="cpu"))
    module = context.seeded_stage(context.graph.node(stage, seed)).build()
    return [value for name, value in module.state_dict().items() if name.endswith("weight")]


def test_initial_weights_come_from_the_seed_alone(tmp_path: Path) -> None:
    first = initial(tmp_path, "baseline", 0)
    torch.manual_seed(12345)
    again, arm, other = (initial(tmp_path, *which) for which in (("baseline", 0), ("again", 0), ("baseline", 1)))
    assert len(first) == 2
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert all(torch.equal(*pair) for pair in zip(first, arm, strict=True)), "arms of one seed start at one place"
    assert not any(torch.equal(*pair) for pair in zip(first, other, strict=True))


def test_only_a_stage_that_can_use_them_has_unlabelled_samples_in_its_batches(tmp_path: Path) -> None:
    stages = content()["stages"]
    context = Context(read(written(tmp_path, stages=stages)), Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    module = context.experiment.build_module
    seeded = context.seeded_stage(context.graph.node("teacher", 0))
    for stage, unlabelled in (("baseline", False), ("student", True)):
        seeded = replace(seeded, stage=stage)
        model = context.experiment.build_model(stage)
        teacher = Teacher(context.experiment.build_model("teacher")) if unlabelled else None
        data = seeded.arranged_data(module(stage, model, teacher)).lightning
        targets = torch.cat([batch["target"] for batch in data.train_dataloader()])
        assert bool((targets < 0).any()) == unlabelled


@pytest.mark.parametrize("classes", [2, 4])
def test_a_model_has_an_output_for_each_class_and_no_more(tmp_path: Path, classes: int) -> None:
    baseline = deepcopy(content()["stages"]["baseline"])
    baseline["module"]["init_args"]["model"]["init_args"]["classes"] = classes
    context = Context(read(written(tmp_path, stages={"baseline": baseline})), Options(mlruns=tmp_path / "mlruns"))
    seeded = context.seeded_stage(context.graph.node("baseline", 0))
    with pytest.raises(
        StageError, match=rf"its model \(MLP\) gives outputs of shape \(2, {classes}\), the data have 3 classes"
    ):
        seeded.build()
