"""A made-up experiment that trains in seconds: every kind of stage, on tiny data."""

from pathlib import Path
from typing import Any

import yaml

STUDENT = {"class_path": "MLP", "init_args": {"inputs": 64, "classes": 3, "hidden": [8]}}
OPTIMIZER = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}}
SOFT = {"soft": {"loss": {"class_path": "SoftTargets", "init_args": {"temperature": 2.0}}}}


def stage(kind: str, model: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """The module of a stage."""
    return {"class_path": kind, "init_args": {"model": model, "optimizer": OPTIMIZER, **arguments}}


def content() -> dict[str, Any]:
    """A teacher, a baseline, a student and a joint student on made-up images."""
    surrogate = {"class_path": "NeuralSurrogate", "init_args": {"inputs": 64, "classes": 3, "hidden": [8]}}
    return {
        "seeds": [0, 1],
        "data": {"class_path": "tests.data.made_up.MadeUp", "init_args": {"classes": 3, "batch_size": 16}},
        "trainer": {"max_epochs": 2},
        "evaluate": {"explainer": {"class_path": "InputGradient"}, "probe": 16, "every": 1},
        "stages": {
            "teacher": {
                "module": stage("Supervised", {"class_path": "ConvNet", "init_args": {"classes": 3, "width": 4}})
            },
            "baseline": {"labelled": 12, "module": stage("Supervised", STUDENT)},
            "student": {
                "teacher": "teacher",
                "labelled": 12,
                "module": stage("Distilled", STUDENT, alpha=1.0, distill=SOFT),
            },
            "joint": {
                "teacher": "teacher",
                "labelled": 12,
                "module": stage("Joint", STUDENT, distill=SOFT, explainer=surrogate),
            },
        },
    }


def written(folder: Path, **changes: Any) -> Path:
    """The experiment as a file; top-level keys may be changed."""
    path = folder / "made_up.yaml"
    path.write_text(yaml.safe_dump({**content(), **changes}, sort_keys=False))
    return path
