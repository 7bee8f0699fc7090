"""Wrong experiment files and commands: one line that says what to do, exit code 2, no traceback."""

from pathlib import Path

import pytest

from kdlab.__main__ import main
from tests.configuration.examples import write

Change = tuple[str, str]

#: What is written wrong, and what the line must say.
WRONG: dict[str, tuple[Change, str]] = {
    "unknown top-level key": (("trainer:", "trian:"), "has no key 'trian' (did you mean 'trainer'?)"),
    "unknown key of a stage": (
        ("labelled: 100", "labeled: 100"),
        ".yaml:14: student.labeled: stage 'student' has no key",
    ),
    "unknown key of evaluate": (("probe: 32", "prob: 32"), "evaluate has no key 'prob' (did you mean 'probe'?)"),
    "unknown argument of a module": (
        ("alpha: 1", "alhpa: 1"),
        "Distilled has no argument 'alhpa' (did you mean 'alpha'?)",
    ),
    "unknown argument of a model": (
        ("hidden: [16]", "hiden: [16]"),
        "MLP has no argument 'hiden' (did you mean 'hidden'?)",
    ),
    "unknown key of a term": (("weight: 1.0", "wieght: 1.0"), "Term has no argument 'wieght' (did you mean 'weight'?)"),
    "unknown argument of the trainer": (("max_epochs: 2", "max_epoch: 2"), "nothing says how long"),
    "misspelt argument of the trainer": (
        ("max_epochs: 2", "max_epochs: 2, precison: 32"),
        "Trainer has no argument 'precison' (did you mean 'precision'?)",
    ),
    "no rhythm of explanations": (("probe: 32", "every: 0"), "evaluate.every: expected a whole number of at least 1"),
    "a standard measure that is none": (
        ("  probe: 32", "    explanation/deletion: null\n  probe: 32"),
        "evaluate.metrics.explanation/deletion: no standard measure is called 'explanation/deletion' "
        "(did you mean 'explanation/deletion_auc'?)",
    ),
    "a class of captum's without the adapter": (
        ("{class_path: InputGradient}", "{class_path: captum.attr.IntegratedGradients}"),
        "evaluate.explainer.class_path: captum.attr.IntegratedGradients goes through the adapter: {class_path: Captum, "
        "init_args: {method: captum.attr.IntegratedGradients}}",
    ),
    "one that needs more than the model": (
        ("{class_path: InputGradient}", "{class_path: captum.attr.GuidedGradCam, init_args: {layer: head}}"),
        "init_args: {method: captum.attr.GuidedGradCam}}, beside it layer: PATH where the method takes one",
    ),
    "its short form": (
        ("{class_path: InputGradient}", "captum.attr.Lime"),
        "captum.attr.Lime goes through the adapter",
    ),
    "a metric that is a number": (("  probe: 32", "    accuracy: 3\n  probe: 32"), "or null to leave one out, got 3"),
    "maps that are no mapping": (("probe: 32", "maps: [block1]"), "evaluate.maps: expected a mapping, got ['block1']"),
    "maps of something else than layers": (
        ("probe: 32", "maps: {block1: [block1]}"),
        "evaluate.maps: expected dict[str, str]",
    ),
    "wrong type of a number": (("alpha: 1", "alpha: high"), ".yaml:19: student.alpha: expected float, got 'high'"),
    "wrong type in a list": (("hidden: [16]", "hidden: [a]"), "student.model.hidden: expected list[int], got ['a']"),
    "wrong type of the trainer": (("max_epochs: 2", "max_epochs: many"), "trainer.max_epochs: expected int or null"),
    "wrong type of labelled": (("labelled: 100", "labelled: all"), "expected a whole number of at least 1, got 'all'"),
    "no labelled samples": (("labelled: 100", "labelled: 0"), "expected a whole number of at least 1, got 0"),
    "seeds that are no numbers": (("seeds: [0, 1]", "seeds: [a]"), "expected a whole number of at least 0, got 'a'"),
    "no seeds": (("seeds: [0, 1]", "seeds: []"), "expected a list of seeds"),
    "a seed twice": (("seeds: [0, 1]", "seeds: [1, 1]"), "a seed stands twice"),
    "missing argument": (
        ("MLP, init_args: {inputs: 64, classes: 10, hidden: [16]}", "Estimator, init_args: {}"),
        "Estimator needs 'estimator' (any value)",
    ),
    "unknown short name": (
        ("SoftTargets", "SoftTarget"),
        "kdlab has no class 'SoftTarget' (did you mean 'SoftTargets'?)",
    ),
    "misspelt class": (("torch.optim.SGD", "torch.optim.SDG"), "has no 'SDG' (did you mean 'SGD'?)"),
    "missing module": (("torch.optim.SGD", "torchoptim.SGD"), "no module 'torchoptim'"),
    "missing own module": (
        ("class_path: MLP, init_args: {inputs: 64, classes: 10, hidden: [16]}", "class_path: mynet.Net"),
        "own modules are looked for in",
    ),
    "class of the wrong kind": (
        ("class_path: InputGradient}", "class_path: Digits}"),
        "is not a class that makes Attribution",
    ),
    "an optimiser that is none": (
        ("torch.optim.SGD, init_args: {lr: 1e-1}", "torch.nn.ReLU"),
        "is not a class that makes Optimizer",
    ),
    "a data set that is none": (
        ("class_path: Digits", "class_path: MLP"),
        "data.class_path: 'kdlab.models.mlp.MLP' is not LightningDataModule",
    ),
    "a module that is none": (("class_path: Distilled", "class_path: MLP"), "is not LightningModule"),
    "a metric that is none": (("torchmetrics.MeanSquaredError", "torch.nn.MSELoss"), "is not Metric"),
    "a class without class_path": (
        ("model: &student {class_path: MLP,", "model: &student {class: MLP,"),
        "expected Module, got",
    ),
    "unknown teacher": (
        ("teacher: teacher", "teacher: techer"),
        "there is no stage 'techer' (did you mean 'teacher'?)",
    ),
    "stages in a circle": (("  teacher:\n", "  teacher:\n    teacher: student\n"), "in a circle: "),
    "a teacher for a module without one": (
        ("  baseline:\n", "  baseline:\n    teacher: teacher\n"),
        "Supervised takes no teacher",
    ),
    "a teacher among the arguments": (
        ("alpha: 1", "teacher: teacher"),
        "the teacher is a stage; name it beside module",
    ),
    "a stage that is called like a key": (("  baseline:\n", "  data:\n"), "'data' cannot name a stage"),
    "a stage without module": (
        ("module: {class_path: Supervised, init_args: {model: *student}}", "vary: seed"),
        "has no module",
    ),
    "stages that are no mapping": (("stages:\n", "stages: 3\nquick2:\n"), "has no key 'quick2'"),
    "a monitor of the test": (("labelled: 100", "monitor: test/accuracy"), "test is touched once"),
    "something else that varies": (("labelled: 100", "vary: model"), "expected seed or nothing, got 'model'"),
    "hardware in the file": (("max_epochs: 2", "max_epochs: 2, devices: 2"), "make: DEVICES="),
    "a logger in the file": (("max_epochs: 2", "max_epochs: 2, logger: true"), "MLFLOW_TRACKING_URI"),
    "callbacks in the trainer": (("{gradient_clip_val: 0.5}", "{callbacks: []}"), "callbacks stand beside trainer"),
    "what the runner sets": (("max_epochs: 2", "max_epochs: 2, enable_progress_bar: false"), "kdlab's runner sets it"),
    "weights that are not there": (
        ("  teacher:\n", "  teacher:\n    weights: no.safetensors\n"),
        "no file 'no.safetensors'",
    ),
    "weights of an unknown form": (
        ("  teacher:\n", "  teacher:\n    weights: net.pkl\n"),
        "expected a .safetensors, .ckpt",
    ),
    "a key that stands twice": (("seeds: [0, 1]\n", "seeds: [0, 1]\nseeds: 3\n"), "the key 'seeds' stands twice"),
    "no data": (("data: {class_path: Digits, init_args: {batch_size: 64}}\n", ""), "the experiment has no 'data'"),
    "data without a class": (
        ("data: {class_path: Digits, init_args: {batch_size: 64}}", "data: digits"),
        "expected {class_path",
    ),
    "syntax": (("seeds: [0, 1]", "seeds: [0, 1"), ".yaml:2: not valid YAML"),
    "a slash in the name": (("seeds:", "name: a/b\nseeds:"), "expected a name without slashes"),
    "a quick override that means nothing": (
        ("seeds: 1, trainer", "nothing.alpha: 1, trainer"),
        "quick: 'nothing' is neither",
    ),
    "takes that is no mapping": (
        ("takes: {preds: logits, target: teacher_logits}", "takes: [a]"),
        "expected dict[str, str], got ['a']",
    ),
}


def refused(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    try:
        code = main(command)
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert code == 2, (code, out, err)
    assert err.startswith("kdlab: error: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in out + err
    return err


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_in_one_line(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, said = WRONG[case]
    assert said in refused(capsys, "show", str(write(tmp_path, change)), "--quick")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["run", "FILE", "--only", "studnet"],
            "--only studnet: small has no stage 'studnet' (did you mean 'student'?)",
        ),
        (["run", "FILE", "--fresh", "x"], "it has teacher, student, baseline, joint"),
        (["run", "FILE", "--seeds", "a"], "expected 0,1,2 or how many seeds"),
        (["run", "FILE", "--seeds", "0"], "expected at least one seed"),
        (["run", "FILE", "--devices", "0"], "expected a whole number of at least 1"),
        (["run", "FILE", "--accelerator", "tpu9"], "invalid choice: 'tpu9'"),
        (["run", "nofile.yaml"], "nofile.yaml: no such file"),
        (["run"], "the following arguments are required: FILE"),
        (["rum", "FILE"], "invalid choice: 'rum'"),
        (["show", "FILE", "--set", "student.alhpa=1"], "did you mean student.alpha"),
        (["list", "loses"], "there is no kind 'loses' (did you mean 'losses'?)"),
        (["report", "FILE", "--mlruns", "EMPTY"], "nothing of 'small' has been run"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_a_wrong_command_is_refused_in_one_line(
    command: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"FILE": str(write(tmp_path)), "EMPTY": str(tmp_path / "empty")}
    assert said in refused(capsys, *(words.get(word, word) for word in command))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("class Net(:\n    pass\n", "own_broken.py, line 1"),
        ("import a_package_that_is_missing\n", "needs the package 'a_package_that_is_missing', which is not installed"),
        ("raise ValueError('no\\nway')\n", "importing 'own_broken' fails: ValueError: no way"),
        ("class Other: ...\n", "has no 'Net'; it has Other"),
        ("Net = 3\n", "neither a class nor a function"),
    ],
)
def test_a_users_module_that_does_not_work_is_named(
    source: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_broken.py").write_text(source)
    monkeypatch.delitem(__import__("sys").modules, "own_broken", raising=False)
    file = write(tmp_path, ("class_path: MLP", "class_path: own_broken.Net"))
    assert said in refused(capsys, "show", str(file))


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(write(tmp_path, ("alpha: 1", "alhpa: 1"))), "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
