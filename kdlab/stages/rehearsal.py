"""Sending one batch through every stage, so that what does not fit is found before anything trains."""

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from kdlab.callbacks.balance import gradient_norms, shares
from kdlab.configuration.experiment import Experiment
from kdlab.data.batches import first_batch
from kdlab.modules.adopted import StageModule, adopt_module
from kdlab.randomness import address, forked
from kdlab.records.stage_folder import StageFolder
from kdlab.records.weights import load_weights
from kdlab.stages.context import Context
from kdlab.stages.graph import StageNode
from kdlab.stages.options import Options
from kdlab.stages.seeded_stage import SeededStage, put, user_errors
from kdlab.stages.training import make_trainer
from kdlab.teacher import teacher_of


def rehearse(experiment: Experiment, options: Options) -> list[str]:
    """Build every stage and send one batch through it; nothing is trained or logged.

    Returns:
        One line for each stage. After it comes one line for each of the stage's terms: value, weight, and share of the
            student's gradient on the first batch.
    """
    return rehearse_stages(Context(experiment, options), list(experiment.stages), balance=True)


def rehearse_stages(context: Context, stages: list[str], balance: bool = False) -> list[str]:
    """Send one batch through some stages of an execution, and return lines as ``rehearse`` does.

    Args:
        context: of the execution.
        stages: names of the stages.
        balance: whether lines for the terms are included; they cost one backward pass for each term.
    """
    lines = []
    for name in stages:
        seeded, module = rehearsed_stage(context, name)
        adopted = adopt_module(module)
        check_trainer(seeded)
        teachers = context.graph.node(name, seeded.seed).teachers
        untrained = [teacher.stage for teacher in teachers if not teacher.trained]
        hint = f" (with {', '.join(untrained)} still untrained)" if balance and untrained else ""
        count = sum(p.numel() for p in adopted.model.parameters())
        lines.append(f"{name}: {type(module).__name__}, {count:,} parameters, every term reaches what it trains{hint}")
        if balance and adopted.has_terms:
            with user_errors(f"stage {name!r}"), forked(address(seeded.seed, "rehearsal")):
                lines += _balance(adopted, first_batch(seeded.arranged_data(module).lightning))
    return lines


def check_trainer(seeded: SeededStage) -> None:
    """Raise a StageError if Lightning's Trainer refuses the stage's settings."""
    arguments = seeded.experiment.trainer_arguments(seeded.stage)
    # Lightning would set these two for the whole process; their values were checked when the file was read.
    settings = {name: value for name, value in arguments.items() if name not in ("deterministic", "benchmark")}
    make_trainer(seeded, [], logger=False, devices=1, strategy="auto", **settings)


def _balance(module: StageModule, batch: dict[str, Tensor]) -> list[str]:
    """Return a line for each term with its value, weight and share of the student's gradient on a batch."""
    terms = module.terms(module.signals(batch), step=0)
    gradient_shares = shares(gradient_norms(terms, list(module.model.parameters())))
    width = max(map(len, terms))
    return [
        f"  {name:{width}}  value {value.item():10.4g}  weight {weight:8.4g}  "
        + (f"{float(gradient_shares[name]):4.0%} of the gradient" if name in gradient_shares else "not for the student")
        for name, (weight, value) in terms.items()
    ]


def rehearsed_stage(context: Context, name: str) -> tuple[SeededStage, LightningModule]:
    """Return a stage at its first seed, and its module after one batch; unfinished teachers are used untrained."""
    experiment = context.experiment
    seed = experiment.seeds_of(name)[0]
    with user_errors(f"stage {name!r}"), forked(address(seed, "rehearsal")):
        node = context.graph.node(name, seed)
        reference = context.combined(node, [teacher_of(_network(experiment, teacher)) for teacher in node.reference])
        seeded = SeededStage(
            experiment,
            name,
            seed,
            StageFolder(context.options.mlruns / "stages" / "rehearsal"),
            context.data,
            reference if node.teachers else None,
            reference,
            context.options,
            None if node.start is None else experiment.build_model(node.start.stage).state_dict(),
        )
        module = seeded.build()
        # Called only to find out whether the optimiser and the scheduler accept their settings.
        module.configure_optimizers()
    return seeded, module


def _network(experiment: Experiment, node: StageNode) -> nn.Module:
    """Return the network of a node, with its trained weights if it is finished."""
    network = experiment.build_model(node.stage)
    if node.trained:
        put(network, load_weights(node.folder.weights), f"the weights of stage {node.stage!r}")
    return network
