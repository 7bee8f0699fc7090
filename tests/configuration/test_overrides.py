from pathlib import Path

import pytest
import yaml

from kdlab.configuration.experiment import ConfigurationError, Experiment, read
from tests.configuration.examples import write


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path)


def value(experiment: Experiment, name: str) -> object:
    node = experiment.resolved
    for key in name.split("."):
        node = node[key]
    return node


MODULE = "stages.student.module.init_args"


@pytest.mark.parametrize(
    ("override", "place", "expected"),
    [
        ("student.alpha=0.3", f"{MODULE}.alpha", 0.3),
        ("student.temperature=2", f"{MODULE}.distill.soft.loss.init_args.temperature", 2.0),
        ("student.task_weight=0", f"{MODULE}.task_weight", 0.0),
        ("joint.beta=0.5", "stages.joint.module.init_args.beta", 0.5),
        ("joint.explain_weight=2", "stages.joint.module.init_args.explain_weight", 2.0),
        ("student.distill.soft.temperature=3", f"{MODULE}.distill.soft.loss.init_args.temperature", 3.0),
        ("student.distill.soft.loss.temperature=3", f"{MODULE}.distill.soft.loss.init_args.temperature", 3.0),
        ("student.distill.soft.weight=0.5", f"{MODULE}.distill.soft.weight", 0.5),
        ("student.module.init_args.alpha=0.3", f"{MODULE}.alpha", 0.3),
        ("student.model.hidden=[8,8]", f"{MODULE}.model.init_args.hidden", [8, 8]),
        ("student.hidden=[8]", f"{MODULE}.model.init_args.hidden", [8]),
        ("student.optimizer.lr=0.01", f"{MODULE}.optimizer.init_args.lr", 0.01),
        ("teacher.lr=1e-4", "stages.teacher.module.init_args.optimizer.init_args.lr", 0.0001),
        ("student.optimizer=torch.optim.Adam", f"{MODULE}.optimizer.class_path", "torch.optim.Adam"),
        ("student.optimizer.class_path=torch.optim.Adam", f"{MODULE}.optimizer.class_path", "torch.optim.Adam"),
        ("student.scheduler=null", f"{MODULE}.scheduler", None),
        ("student.labelled=50", "stages.student.labelled", 50),
        ("student.max_epochs=7", "stages.student.trainer.max_epochs", 7),
        ("student.gradient_clip_val=1.5", "stages.student.trainer.gradient_clip_val", 1.5),
        ("trainer.max_epochs=9", "stages.baseline.trainer.max_epochs", 9),
        ("trainer.precision=bf16-mixed", "stages.baseline.trainer.precision", "bf16-mixed"),
        ("data.batch_size=32", "data.init_args.batch_size", 32),
        ("evaluate.probe=8", "evaluate.probe", 8),
        ("evaluate.explainer=null", "evaluate.explainer", None),
        ("evaluate.metrics.top3.top_k=2", "evaluate.metrics.top3.init_args.top_k", 2),
        ("joint.callbacks.0.decay=0.5", "stages.joint.callbacks", None),
        ("name=other", "name", "other"),
        ("seed=1", "seeds", [1]),
        ("seeds=[3, 4]", "seeds", [3, 4]),
        ("seeds=3", "seeds", [0, 1, 2]),
    ],
)
def test_a_name_means_one_place(file: Path, override: str, place: str, expected: object) -> None:
    found = value(read(file, [override]), place)
    if place.endswith("callbacks"):
        found, expected = found[0]["init_args"]["decay"], 0.5  # type: ignore[index]  # any JSON
    assert found == expected


def test_an_override_changes_nothing_else(file: Path) -> None:
    changed, plain = read(file, ["student.model.hidden=[8]"]).resolved, read(file).resolved
    assert changed["stages"]["baseline"] == plain["stages"]["baseline"]
    assert changed["stages"]["joint"] == plain["stages"]["joint"]
    assert changed["stages"]["student"] != plain["stages"]["student"]


@pytest.mark.parametrize(
    "override",
    [
        "student.alpha=0.3",
        "teacher.lr=1e-4",
        "student.optimizer=torch.optim.Adam",
        "student.teacher=baseline",
        "joint.callbacks.0.decay=0.5",
        "trainer.max_epochs=9",
        "student.max_epochs=7",
        "data.batch_size=32",
        "evaluate.explainer=null",
        "evaluate.metrics.top3.top_k=2",
        "seeds=3",
    ],
)
def test_an_overridden_experiment_is_what_its_file_would_be_read_as(file: Path, override: str) -> None:
    changed, plain = read(file, [override]), read(file)
    again = file.with_name("again.yaml")
    again.write_text(yaml.safe_dump(changed.resolved, sort_keys=False))
    assert changed.resolved != plain.resolved
    assert read(again).resolved == changed.resolved | {"name": "small"}
    assert plain.overridden([override]).resolved == changed.resolved


def test_further_overrides_come_behind_those_it_was_read_with(file: Path) -> None:
    experiment = read(file, ["seeds=3"], quick=True).overridden(["student.alpha=0.3"])
    assert experiment.overrides == ("seeds=3", "student.alpha=0.3")
    assert experiment.quick
    assert experiment.seeds == [0, 1, 2]
    with pytest.raises(ConfigurationError, match="names nothing in this experiment"):
        experiment.overridden(["student.alhpa=1"])


def test_overrides_build_on_each_other(file: Path) -> None:
    experiment = read(file, ["student.optimizer=torch.optim.Adam", "student.optimizer.amsgrad=true"])
    optimizer = value(experiment, f"{MODULE}.optimizer")
    assert optimizer["class_path"] == "torch.optim.Adam"  # type: ignore[index]  # any JSON
    assert optimizer["init_args"]["amsgrad"] is True  # type: ignore[index]  # any JSON


def test_the_files_quick_overrides_come_first(file: Path) -> None:
    assert read(file, quick=True).seeds == [0]
    assert read(file, ["trainer.max_epochs=5"], quick=True).trainer_arguments("baseline") == {"max_epochs": 5}
    assert read(file).trainer_arguments("baseline") == {"max_epochs": 2}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("student.temperture=3", "names nothing in this experiment; did you mean student.temperature"),
        ("student.hiden=[8]", "did you mean student.model.hidden"),
        ("joint.optmizer=x", "did you mean joint.optimizer"),
        ("student.alhpa=0.3", "'student.alhpa' names nothing in this experiment; did you mean student.alpha"),
        ("studnet.alpha=0.3", "'studnet' is neither a stage nor a top-level key (did you mean student.alpha?)"),
        ("alpha=0.3", "did you mean teacher.alpha or student.alpha or baseline.alpha or joint.alpha?"),
        ("joint.maps.class_path=x", "means several: "),
        ("joint.loss=torch.nn.MSELoss", "means several: joint.distill.soft.loss, joint.distill.maps.loss"),
        ("baseline.beta=1", "'baseline.beta' names nothing"),
        ("stages.student.alpha=1", "start with a stage's name"),
        ("student.alpha", "expected name=value"),
        ("=3", "expected name=value"),
        ("student..alpha=3", "expected name=value"),
        ("student.alpha=[1", "is not valid YAML"),
        ("student.alpha=high", "--set student.alpha=high: student.alpha: expected float, got 'high'"),
        ("student.model.hidden=8", "expected list[int], got 8"),
        ("student.teacher=techer", "there is no stage 'techer' (did you mean 'teacher'?)"),
        ("student.optimizer=torch.optim.Adamm", "has no 'Adamm' (did you mean 'Adam'?)"),
        ("trainer.devices=2", "'trainer.devices' names nothing"),
        ("seed=first", "expected a whole number of at least 0, got 'first'"),
    ],
)
def test_what_means_nothing_or_several_is_refused(file: Path, override: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read(file, [override])
    assert said in str(error.value)
    assert "\n" not in str(error.value)
