"""Check what a file and the sources alone can tell of an experiment, which takes a tenth of a second."""

from collections.abc import Mapping
from typing import Any

from kdlab.configuration.classes import full_path
from kdlab.configuration.document import Document, Place
from kdlab.configuration.outline import Outline, outline
from kdlab.errors import nearest

_HARDWARE = "hardware is no part of an experiment's result; give it with --devices and --accelerator (make: DEVICES=…)"
_RUNNER = "kdlab's runner sets it; leave it out"
#: Arguments of the Trainer that an experiment may not set, and what to do instead.
ELSEWHERE = {
    **dict.fromkeys(("accelerator", "devices", "num_nodes", "strategy", "plugins"), _HARDWARE),
    "logger": "results go to mlruns and from there to MLflow; set MLFLOW_TRACKING_URI for another server",
    "callbacks": "callbacks stand beside trainer, as the stage's own key callbacks",
    "limit_test_batches": "the test is the same for every stage, on the whole split",
    **dict.fromkeys(
        (
            "enable_checkpointing",
            "enable_progress_bar",
            "enable_model_summary",
            "default_root_dir",
            "log_every_n_steps",
            "model_registry",
            "profiler",
            "fast_dev_run",
            "barebones",
            "inference_mode",
            "use_distributed_sampler",
        ),
        _RUNNER,
    ),
}


def check_form(document: Document) -> Outline:
    """Check keys, stages, who teaches whom, what ``trainer`` holds, and short class names; return the outline.

    Raises:
        ConfigurationError: If any of it is wrong: one line with file, key and line, what was possible and what to do.
    """
    outlined = outline(document)
    content = document.content
    _check_placement(document / "trainer")
    for name in content["stages"]:
        _check_placement(document / "stages" / name / "trainer")
        trainer = outlined.stages[name].trainer or {}
        if not {"max_epochs", "max_steps", "max_time"} & set(trainer):
            near = "".join(f" (is {key!r} meant to be max_epochs?)" for key in nearest("max_epochs", trainer))
            raise (document / "stages" / name).error(
                f"nothing says how long {name!r} trains{near}; set max_epochs in trainer, at the top or in the stage",
            )
        if trainer.get("max_epochs") == -1 and trainer.get("max_steps", -1) == -1 and trainer.get("max_time") is None:
            raise (document / "stages" / name / "trainer" / "max_epochs").error(
                f"-1 lets {name!r} train for ever; say how many epochs"
            )
    _check_names(content, document.top)
    return outlined


def _check_placement(place: Place) -> None:
    """Refuse arguments of the Trainer that choose hardware or logging, or that kdlab's runner sets."""
    for key in place.value or {}:
        if key in ELSEWHERE:
            raise (place / key).error(f"{key!r} does not belong here: {ELSEWHERE[key]}")


def _check_names(node: Any, place: Place) -> None:  # noqa: ANN401  any YAML
    """Refuse short class names that kdlab does not have."""
    entries = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        if key == "class_path":
            full_path(value, place / key)
        _check_names(value, place / key)
