"""``kdlab soft-labels``: write what a finished stage predicts for every sample to a file that can teach elsewhere."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from kdlab.configuration.experiment import read, read_outline
from kdlab.configuration.outline import check_stage_names
from kdlab.errors import ConfigurationError, StageError, listing
from kdlab.stages.options import Options

if TYPE_CHECKING:
    from kdlab.data.soft_label_table import SoftLabelTable
    from kdlab.stages.context import Context


def write_soft_labels(parsed: argparse.Namespace) -> None:
    """Write the file, and print a stage of an experiment that learns from it.

    Raises:
        ConfigurationError: If the file's ending is unknown, the experiment is wrong, or it has no such stage.
        StageError: As ``soft_labels``.
    """
    from kdlab.data.soft_label_table import ENDINGS, write

    out: Path = parsed.out
    kind = out.suffix.lower()
    if kind not in ENDINGS:
        raise ConfigurationError(f"--out {out}: the ending says the format, and is one of {listing(ENDINGS)}")
    check_stage_names(read_outline(parsed.file, parsed.set, parsed.quick), [parsed.stage], "STAGE")
    experiment = read(parsed.file, parsed.set, parsed.quick)
    # Imported late, so that a wrong file is refused before torch and Lightning are loaded.
    from kdlab.records.files import replacing
    from kdlab.stages.context import Context

    context = Context(experiment, Options(mlruns=parsed.mlruns.resolve(), accelerator=parsed.accelerator))
    holds = "probabilities" if parsed.probabilities or parsed.top_k is not None else "logits"
    table = soft_labels(context, parsed.stage, parsed.seed, holds, parsed.top_k)
    with replacing(out) as scratch:
        write(scratch, kind, table)
    print(f"{out}: {table.holds} of {len(table.names):,} samples for {len(table.class_names or ())} classes")
    model = {"class_path": "SoftLabelFile", "init_args": {"path": str(out)}}
    module = {"class_path": "Recorded", "init_args": {"model": model}}
    block = yaml.safe_dump(module, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    print(f"a stage that teaches by it:\n  module: {block.strip()}")


def soft_labels(
    context: "Context", stage: str, seed: int | None, holds: str, top_k: int | None = None
) -> "SoftLabelTable":
    """Return what the stage's chosen model predicts for every sample of all splits, to the last bit.

    Args:
        context: what the stages of the experiment share.
        stage: the stage's name.
        seed: one of its seeds; None takes the first.
        holds: ``logits`` or ``probabilities``.
        top_k: how many of each sample's values are given, the largest ones; None gives all.

    Raises:
        StageError: If the stage has no such seed or is not finished, or if the samples have no number.
    """
    import torch

    from kdlab.data.soft_label_table import SoftLabelTable
    from kdlab.records.soft_labels import gather
    from kdlab.stages.context import exact_logits

    description = context.data.description
    names, class_names, targets = description.sample_names, description.class_names, description.targets
    if names is None or class_names is None or targets is None:
        raise StageError(
            f"the samples of {type(context.data.lightning).__name__} have no number, so a row could not be told from "
            f"another; subclass kdlab.data.base.DataModule"
        )
    seeds = context.experiment.seeds_of(stage)
    if seed is not None and seed not in seeds:
        raise StageError(f"stage {stage!r} is not trained with seed {seed}; it has {listing(map(str, seeds))}")
    node = context.graph.node(stage, seeds[0] if seed is None else seed)
    if not node.trained:
        raise StageError(
            f"stage {stage!r} with seed {node.seed} is not finished; kdlab run {context.experiment.path.name} "
            f"--only {stage} trains it"
        )
    logits = gather(exact_logits(context.teacher(node), context.data, torch.device("cpu")), context.data.samples)
    values = logits.double().softmax(dim=1) if holds == "probabilities" else logits
    numbers = torch.cat(list(targets.values())).tolist()
    labels = ["" if number < 0 else class_names[number] for number in numbers]
    is_given = None
    if top_k is not None and top_k < values.shape[1]:
        is_given = torch.zeros_like(values, dtype=torch.bool).scatter(1, values.topk(top_k, dim=1).indices, True)
        values = values.where(is_given, 0.0)
    kept = None if is_given is None else is_given.numpy()
    return SoftLabelTable(list(names), class_names, values.float().numpy(), holds, labels, kept)
