from pathlib import Path

from kdlab.configuration.sources import classes_of, folder_classes, full_names, locate, package_classes

OWN = '''
import lightning.pytorch as L
from dataclasses import dataclass
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

class Data(L.LightningDataModule): ...
class Score(torchmetrics.Metric): ...
class Slope:
    def __init__(self, model): ...
    def attribute(self, inputs, target=None): ...
class Helper: ...
class _Hidden(nn.Module):
    def forward(self, inputs): ...
'''


def test_a_users_classes_are_sorted_by_bases_and_methods(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("class (")
    kinds = {source.path: source.kind for source in folder_classes(tmp_path)}
    assert kinds == {
        "own.Net": "models",
        "own.Wider": "models",
        "own.Loss": "losses",
        "own.Data": "data",
        "own.Score": "metrics",
        "own.Slope": "explainers",
    }


def test_arguments_and_summary_are_read_without_importing(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    net, wider, *_ = classes_of(file, "own", None)
    assert net.arguments == ("width: int = 3", "deep: bool = False")
    assert wider.arguments == net.arguments
    assert net.summary == "A net."


def test_names_of_the_packages_own_classes_are_unique() -> None:
    names = [source.name for source in package_classes()]
    assert sorted(set(names)) == sorted(names)


def test_a_short_name_is_found_by_its_file() -> None:
    assert full_names("Distilled") == ("kdlab.modules.distilled.Distilled",)
    assert full_names("Distil") == ()


def test_a_module_is_located_without_importing_it(tmp_path: Path) -> None:
    assert locate("json.decoder") is not None
    assert locate("torch.nn.functional") is not None
    assert locate("nowhere.at.all") is None


INHERITED = """
from torch import nn
from torch.nn import Sequential

class Base(nn.Module):
    def __init__(self, num_classes): ...
    def forward(self, inputs): ...

class Chain(nn.Sequential): ...
class Direct(Sequential): ...
class Weighted(nn.CrossEntropyLoss): ...
class Parts(nn.ModuleList): ...
"""


def test_networks_count_whoever_has_their_forward(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(INHERITED)
    (tmp_path / "net.py").write_text("from base import Base\n\nclass Net(Base):\n    def __init__(self): ...\n")
    kinds = {source.path: source.kind for source in folder_classes(tmp_path)}
    assert kinds == {
        "base.Base": "models",
        "base.Chain": "models",
        "base.Direct": "models",
        "base.Weighted": "losses",
        "net.Net": "models",
    }
