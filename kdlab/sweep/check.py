"""Checks before any trial: whether the stages log all objectives, and whether constructors take all values."""

from collections.abc import Iterator

from kdlab.errors import ConfigurationError, listing, suggestion
from kdlab.stages.context import Context
from kdlab.stages.options import Options
from kdlab.stages.rehearsal import rehearse_stages, rehearsed_stage
from kdlab.sweep.criteria import Measured
from kdlab.sweep.definition import Sweep
from kdlab.sweep.space import Values


def check_sweep(sweep: Sweep, options: Options) -> dict[str, str]:
    """Rehearse the stages at the experiment's own values and at every end of the search.

    Returns:
        The fingerprints of all stages that a trial runs, at the experiment's own values. A key is a stage and its seed,
        such as ``student 0``.

    Raises:
        ConfigurationError: If an objective or a constraint names a metric that its stage does not log, or a value does
            not fit the experiment.
    """
    context = Context(sweep.experiment, options)
    nodes = context.plan()
    stages = list(dict.fromkeys(node.stage for node in nodes))
    rehearse_stages(context, stages)
    for kind, name, quantity in _quantities(sweep):
        _check_logged(sweep, context, f"{kind} {name!r}", quantity)
    for values in sweep.space.corners():
        _check_corner(sweep, context, options, values, stages)
    return {f"{node.stage} {node.seed}": node.fingerprint for node in nodes}


def _quantities(sweep: Sweep) -> Iterator[tuple[str, str, Measured]]:
    for objective in sweep.objectives:
        yield "objective", objective.name, objective.of
    for constraint in sweep.constraints:
        yield "constraint", constraint.name, constraint.of
        if isinstance(constraint.bound, Measured):
            yield "constraint", constraint.name, constraint.bound


def _check_logged(sweep: Sweep, context: Context, what: str, quantity: Measured) -> None:
    # kdlab measures these costs itself, so every stage has them.
    if quantity.metric.startswith("cost/"):
        return
    seeded, module = rehearsed_stage(context, quantity.stage)
    logged = [f"val/{name}" for name in seeded.evaluate(module).measures]
    if quantity.metric not in logged:
        raise ConfigurationError(
            f"{sweep.path.name}: {what}: stage {quantity.stage!r} logs no {quantity.metric!r}"
            f"{suggestion(quantity.metric, logged)}; it logs {listing(logged, 40)}"
        )


def _check_corner(sweep: Sweep, before: Context, options: Options, values: Values, stages: list[str]) -> None:
    """Send one batch through each stage that the values change."""
    experiment = sweep.of(values)
    same = before.experiment.resolved["stages"]
    # The other stages are as in the experiment, and have passed already.
    changed = [s for s in stages if experiment.resolved["stages"][s] != same[s]]
    try:
        rehearse_stages(Context(experiment, options, before), changed)
    except ConfigurationError as error:
        setting = ", ".join(f"{name}={value}" for name, value in values.items())
        raise ConfigurationError(f"{sweep.path.name}: at {setting}: {error}") from error
