import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdlab.__main__ import main
from kdlab.commands.class_kinds import classes_of_folder, kind_of

OWN = '''
import lightning.pytorch as L
from torch import nn
import torchmetrics

class Net(nn.Module):
    """A net.

    More of it.
    """
    def __init__(self, width: int = 3, *, deep: bool = False) -> None: ...
    def forward(self, inputs): ...

class Wider(Net):
    def forward(self, inputs): ...

class Loss(nn.Module):
    def forward(self, logits, teacher_logits): ...

class Around(nn.Module):
    def __init__(self, loss: nn.Module) -> None: ...

class Data(L.LightningDataModule): ...
class Score(torchmetrics.Metric):
    def update(self, logits): ...
    def compute(self): ...
class Unfinished(torchmetrics.Metric): ...
class Slope:
    def __init__(self, model): ...
    def attribute(self, inputs, target=None): ...
class Helper: ...
class Base(nn.Module): ...
class Chain(nn.Sequential): ...
class Weighted(nn.CrossEntropyLoss): ...
class Parts(nn.ModuleList): ...
class _Hidden(nn.Module):
    def forward(self, inputs): ...
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    before, path = set(sys.modules), list(sys.path)
    (tmp_path / "listed_own.py").write_text(OWN)
    importlib.invalidate_caches()
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith("listed_"):
            del sys.modules[name]


def kinds(folder: Path) -> dict[str, str]:
    kind_by_path = {path: kind_of(target) for path, target in classes_of_folder(folder)[0]}
    return {path: kind for path, kind in kind_by_path.items() if kind is not None}


def test_a_users_classes_are_sorted_by_what_they_derive_from(folder: Path) -> None:
    assert kinds(folder) == {
        "listed_own.Net": "models",
        "listed_own.Wider": "models",
        "listed_own.Loss": "losses",
        "listed_own.Around": "losses",
        "listed_own.Data": "data",
        "listed_own.Score": "metrics",
        "listed_own.Slope": "explainers",
        "listed_own.Chain": "models",
        "listed_own.Weighted": "losses",
    }


def test_a_base_may_stand_in_another_file(folder: Path) -> None:
    (folder / "listed_deep.py").write_text("from listed_own import Net\n\n\nclass Deep(Net): ...\nclass Table: ...\n")
    assert kinds(folder)["listed_deep.Deep"] == "models"
    assert "listed_deep.Table" not in kinds(folder)


def test_list_shows_the_packages_and_the_users_classes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "losses", "--own", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "SoftTargets(temperature: float = 4.0)" in printed
    assert "listed_own.Around(loss: Module)\n" in printed
    assert "models:" not in printed
    main(["list", "models", "--own", str(folder)])
    assert "listed_own.Net(width: int = 3, deep: bool = False)\n      A net.\n" in capsys.readouterr().out


def test_a_file_that_cannot_be_imported_is_named_and_the_rest_is_listed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "listed_broken.py").write_text("class Half(:\n")
    (folder / "listed_lacking.py").write_text("import not_there_at_all\n\n\nclass Net: ...\n")
    assert main(["list", "models", "--own", str(folder)]) == 0
    printed = capsys.readouterr()
    assert "listed_own.Net(" in printed.out
    assert "kdlab: listed_broken cannot be imported: SyntaxError" in printed.err
    assert "kdlab: listed_lacking cannot be imported: ModuleNotFoundError" in printed.err


def test_a_list_names_what_can_stand_alone_and_not_what_serves_it(capsys: pytest.CaptureFixture[str]) -> None:
    main(["list"])
    names = set(re.findall(r"^  (\w+)\(", capsys.readouterr().out, re.MULTILINE))
    assert {"SoftTargets", "Standardised", "Digits", "ConvNet", "MaxSensitivity", "DeletionAUC", "GradCam"} <= names
    assert {"RuleTree", "TreeRegularisation", "CosineDecay"} <= names, "a class that another one builds on is left out"
    assert not names & {
        "Projector",
        "TensorLoader",
        "_ResidualBlock",
        "_EncoderBlock",
        "PerSample",
        "Removal",
        "Learned",
        "EpochMeans",
        "Deployed",
        "PairNets",
        "_Fall",
    }
