"""Scores of every sample, as they lie in the folder; and what is said of an evaluation that costs much."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kdlab.records.stage_folder import StageFolder
from kdlab.stages.graph import StageNode
from kdlab.stages.run import remark_on_evaluation
from kdlab.stages.scoring import _write_scores
from tests.stage_folders import begin_stage, done


def test_scores_stand_in_the_order_of_the_samples_whatever_the_loaders(tmp_path: Path) -> None:
    seeded: Any = SimpleNamespace(folder=StageFolder(tmp_path))
    parts = [torch.tensor([[7.0, 0.5], [2.0, 0.25]]), torch.tensor([[5.0, 1.0], [0.0, torch.nan]])]
    evaluate: Any = SimpleNamespace(scores={"accuracy": parts})
    _write_scores(seeded, evaluate, "e1")
    with np.load(tmp_path / "scores-e1.npz") as found:
        assert found["accuracy:index"].tolist() == [0, 2, 5, 7]
        np.testing.assert_array_equal(found["accuracy"], [np.nan, 0.25, 1.0, 0.5])


def trained(mlruns: Path, seed: int, seconds: float, evaluation: float) -> StageNode:
    folder = begin_stage(mlruns, "student", seed)
    (folder / "model.safetensors").write_bytes(b"weights")
    StageFolder(folder).finish(done(seconds=seconds, evaluation_seconds=evaluation))
    return StageNode("student", seed, StageFolder(folder), "e1", ())


@pytest.mark.parametrize(
    ("seconds", "evaluation", "share"),
    [
        (20.0, 4.9, None),  # 24.5 % of 40 s
        (20.0, 10.0, "50%"),
        (20.0, 5.1, "26%"),
        (14.0, 14.0, None),  # 28 s are not worth it
    ],
)
def test_an_evaluation_is_remarked_on_where_it_takes_a_quarter_of_a_long_training(
    seconds: float, evaluation: float, share: str | None, tmp_path: Path
) -> None:
    both = [trained(tmp_path, seed, seconds, evaluation) for seed in (0, 1)]
    remark = remark_on_evaluation(both)
    assert re.findall(r"\(student (\d+%)\)", remark or "") == ([] if share is None else [share])
    other = replace(both[0], stage="other", folder=StageFolder(tmp_path / "absent"))
    assert remark_on_evaluation([other, *both]) == remark
