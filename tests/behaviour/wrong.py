"""Wrong experiments, sweeps and commands; what is said of each is recorded."""

import shutil
from pathlib import Path

EXPERIMENT, SWEEP = "behaviour.yaml", "behaviour.sweep.yaml"

#: What is wrong, the text that is replaced and by what, and in which file.
WRONG = [
    ("unknown key", ("trainer:", "trian:"), EXPERIMENT),
    ("unknown key of a stage", ("labelled: 200", "labeled: 200"), EXPERIMENT),
    ("unknown argument", ("alpha: 1.0", "alhpa: 1.0"), EXPERIMENT),
    ("unknown argument of a model", ("hidden: [32]", "hiden: [32]"), EXPERIMENT),
    ("wrong type", ("alpha: 1.0", "alpha: high"), EXPERIMENT),
    ("wrong type of labelled", ("labelled: 200", "labelled: all"), EXPERIMENT),
    ("unknown class", ("class_path: SoftTargets", "class_path: SoftTarget"), EXPERIMENT),
    ("missing module", ("torch.optim.AdamW", "torchoptim.AdamW"), EXPERIMENT),
    ("class of the wrong kind", ("class_path: InputGradient", "class_path: Digits"), EXPERIMENT),
    ("unknown teacher", ("teacher: teacher", "teacher: techer"), EXPERIMENT),
    ("teachers in a circle", ("  teacher:\n", "  teacher:\n    teacher: student\n"), EXPERIMENT),
    ("a teacher for who takes none", ("  baseline:\n", "  baseline:\n    teacher: teacher\n"), EXPERIMENT),
    ("no seeds", ("seeds: [0, 1]", "seeds: []"), EXPERIMENT),
    ("a seed twice", ("seeds: [0, 1]", "seeds: [1, 1]"), EXPERIMENT),
    ("no data", ("data: {class_path: Digits, init_args: {batch_size: 64}}\n", ""), EXPERIMENT),
    ("a monitor of the test", ("labelled: 200", "monitor: test/accuracy"), EXPERIMENT),
    ("weights that are not there", ("  teacher:\n", "  teacher:\n    weights: no.safetensors\n"), EXPERIMENT),
    ("hardware in the file", ("max_epochs: 1", "max_epochs: 1, devices: 2"), EXPERIMENT),
    ("a standard measure that is none", ("infidelity_logits: null", "infidelity: null"), EXPERIMENT),
    ("syntax", ("seeds: [0, 1]", "seeds: [0, 1"), EXPERIMENT),
    ("a sweep of no experiment", ("experiment: behaviour.yaml", "experiment: behavior.yaml"), SWEEP),
    ("unknown key of a sweep", ("objectives:", "objective:"), SWEEP),
    ("nothing that can be searched", ("student.alpha, float", "student.alhpa, float"), SWEEP),
    ("a range that is none", ("float: [0.1, 2.0]", "float: [2.0, 0.1]"), SWEEP),
    ("no choices", ("choices: {narrow: [4], wide: [8]}", "choices: []"), SWEEP),
    ("an unknown direction", ("direction: minimize", "direction: down"), SWEEP),
    ("an objective of no stage", ("{stage: student,", "{stage: studnet,"), SWEEP),
    ("a metric that nobody measures", ("cost/parameters", "cost/parameter"), SWEEP),
    ("a start outside", ("start: [{width: narrow}]", "start: [{width: slim}]"), SWEEP),
    ("an unknown name in start", ("start: [{width: narrow}]", "start: [{widht: narrow}]"), SWEEP),
]

WRONG_COMMANDS = [
    "",
    "rum behaviour.yaml",
    "run",
    "run nofile.yaml",
    "run behaviour.yaml --only studnet",
    "run behaviour.yaml --fresh x",
    "run behaviour.yaml --seeds a",
    "run behaviour.yaml --seeds 0",
    "run behaviour.yaml --devices 0",
    "run behaviour.yaml --accelerator tpu",
    "run behaviour.yaml --accelerator gpu",
    "run behaviour.yaml --workers 2 --devices 2",
    "run behaviour.yaml --mlruns commands.json",
    "show behaviour.yaml --set student.alhpa=1",
    "show behaviour.yaml --set studnet.alpha=1",
    "show behaviour.yaml --set student.alpha",
    "report behaviour.yaml",
    "list loses",
    "ui --mlruns nowhere",
    "ui --port 0",
    "sweep behaviour.sweep.yaml --address auto",
    "sweep behaviour.sweep.yaml --keep worst",
    "sweep behaviour.sweep.yaml --timeout soon",
    "sweep behaviour.sweep.yaml --launcher slurm",
    "sweep behaviour.sweep.yaml --storage mysq://host/name",
    "sweep-report behaviour.sweep.yaml",
]


def wrong(folder: Path) -> list[str]:
    """Commands that are to be refused, some on files that are written into a folder of the project."""
    here = Path(__file__).parent
    folder.mkdir(exist_ok=True)
    shutil.copy(here / EXPERIMENT, folder)  # a sweep's experiment stands beside it
    commands = list(WRONG_COMMANDS)
    for name, (old, new), file in WRONG:
        text = (here / file).read_text()
        assert old in text, f"{name}: {old!r} does not stand in {file}"
        path = folder / file.replace("behaviour", name.replace(" ", "_"))
        path.write_text(text.replace(old, new, 1))
        commands.append(f"{'show' if file == EXPERIMENT else 'sweep'} {folder.name}/{path.name}")
    return commands
