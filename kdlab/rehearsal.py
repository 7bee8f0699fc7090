"""One batch through every stage: what does not fit is found before anything trains."""

from kdlab.experiment import Experiment
from kdlab.options import Options
from kdlab.randomness import address, forked
from kdlab.scoring import network_of
from kdlab.stage_folder import StageFolder
from kdlab.teacher import Ensemble, Teacher
from kdlab.training import Job, user_errors
from kdlab.workshop import Workshop


def rehearse(experiment: Experiment, options: Options) -> list[str]:
    """Build every stage and send one batch through it; nothing is trained or logged. Returns a line a stage."""
    workshop = Workshop(experiment, options)
    return rehearse_stages(workshop, list(experiment.stages))


def rehearse_stages(workshop: Workshop, stages: list[str]) -> list[str]:
    """Send one batch through some stages of an execution, with untrained teachers."""
    experiment, lines = workshop.experiment, []
    for name in stages:
        seed = experiment.seeds_of(name)[0]
        with user_errors(f"stage {name!r}"), forked(address(seed, "rehearsal")):
            networks = {
                teacher: experiment.build_model(teacher)
                for teacher, _ in [*workshop.teachers_of(name, seed), *workshop.reference_of(name, seed)]
            }
            own = [Teacher(networks[t]) for t, _ in workshop.teachers_of(name, seed)]
            reference = [Teacher(networks[t]) for t, _ in workshop.reference_of(name, seed)]
            job = Job(
                experiment,
                name,
                seed,
                StageFolder(workshop.stages / "rehearsal"),
                workshop.data,
                _one_or_mean(own),
                _one_or_mean(reference),
                workshop.options,
            )
            module = job.build()
            module.configure_optimizers()
        count = sum(p.numel() for p in network_of(module).parameters())
        lines.append(f"{name}: {type(module).__name__}, {count:,} parameters, every term reaches what it trains")
    return lines


def _one_or_mean(teachers: list[Teacher]) -> Teacher | None:
    return Ensemble(teachers) if len(teachers) > 1 else (teachers[0] if teachers else None)
