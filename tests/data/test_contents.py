"""What data hold, in one line and in records."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from kdlab.configuration.experiment import read
from kdlab.data.adopted import adopt_data
from kdlab.data.contents import contents, in_one_line
from kdlab.data.digits import Digits
from kdlab.records.files import read_json
from kdlab.stages.options import Options
from kdlab.stages.run import run
from tests.data.made_up import MadeUp
from tests.experiments import content, written


class Uneven(MadeUp):
    """Three classes of 5, 3 and 2 in training, where two samples have no label; the largest of the test is the last."""

    def load(self) -> dict[str, dict[str, Tensor]]:
        splits = super().load()
        self.class_names = ["a", "b", "c"]
        splits["train"]["target"] = torch.tensor([0] * 5 + [1] * 3 + [2] * 2 + [-1] * 2)
        splits["test"]["target"] = torch.tensor([0, 1, 2, 2, 2, -1])
        return splits


def test_the_line_of_the_digits() -> None:
    line = in_one_line("digits", Digits(), contents(Digits()))
    assert line == "digits: 1,078 / 360 / 359 samples of 1 × 8 × 8 values, 10 classes (9.6 % to 10.2 %)"


def test_numbers_by_hand() -> None:
    data = Uneven((2, 6), 3, (12, 4, 6))
    found = contents(data)
    assert found == {
        "samples": {"train": 12, "val": 4, "test": 6},
        "shape": [2, 6],
        "classes": 3,
        "unlabelled": 2,
        "shares": [0.2, 0.5],
        "largest": {"class": "c", "share": 0.6},
    }
    line = "own: 12 / 4 / 6 samples of 2 × 6 values, 3 classes (20.0 % to 50.0 %), 2 training samples without label"
    assert in_one_line("own", data, found) == line


def test_equal_classes_and_none_known_are_said_shortly() -> None:
    data = MadeUp((4,), 2, (10, 4, 4))
    even = contents(data)
    assert even is not None
    assert in_one_line("own", data, even).endswith("samples of 4 values, 2 classes (50.0 % each)")
    assert in_one_line("own", data, {**even, "shares": None}).endswith("2 classes")


def test_somebody_elses_data_are_named_and_not_guessed_at() -> None:
    data = adopt_data(LightningDataModule())
    assert contents(data) is None
    line = "own: data of LightningDataModule, of which only its own loaders know the size"
    assert in_one_line("own", data, None) == line


def test_a_run_begins_with_its_data_and_its_report_has_the_majority_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"class_path": "tests.data.test_contents.Uneven", "init_args": {"shape": [4], "samples": [12, 4, 6]}}
    data["init_args"] |= {"classes": 3, "batch_size": 4}
    stage = content()["stages"]["teacher"]
    stage["module"]["init_args"]["model"] = {"class_path": "MLP", "init_args": {"inputs": 4, "classes": 3}}
    experiment = read(written(tmp_path, data=data, stages={"alone": stage}), ["seeds=[0]", "trainer.max_epochs=1"])
    outcome = run(experiment, Options(mlruns=tmp_path / "mlruns", accelerator="cpu"))
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("made_up: 12 / 4 / 6 samples of 4 values, 3 classes (20.0 % to 50.0 %)")
    record = read_json(tmp_path / "mlruns" / "executions" / f"{outcome.execution}.json")
    assert record is not None
    assert record["data"]["largest"] == {"class": "c", "share": 0.6}
    (row,) = [line for line in outcome.report.summary.splitlines() if line.startswith("| majority class |")]
    assert row.split(" | ")[1:3] == ["–", "60.0"]
    said = "The majority class is the accuracy of always saying c, the most frequent class of the test data."
    assert said in outcome.report.markdown.read_text()
    assert said in outcome.report.html.read_text()
    assert ">60.0<" in outcome.report.html.read_text()
