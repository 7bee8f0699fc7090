import re
from pathlib import Path

from kdlab.configuration.sources import KINDS, PACKAGE, folder_classes, kind_of_path, locate, package_classes


def test_the_public_classes_of_a_users_folder_have_full_paths(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Net(nn.Module):\n    class Inner: ...\n\n\nclass _Hidden: ...\n")
    (tmp_path / "broken.py").write_text("class (\nclass Half(:\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("class Part: ...\n")
    (tmp_path / "parts" / "more.py").write_text("class More: ...\n")
    assert folder_classes(tmp_path) == {
        "broken.Half": "Half",
        "own.Net": "Net",
        "parts.Part": "Part",
        "parts.more.More": "More",
    }


def test_environments_and_hidden_folders_are_not_looked_into(tmp_path: Path) -> None:
    for folder in (".hidden", "_private", "node_modules", "env"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text("class Net: ...\n")
    (tmp_path / "env" / "pyvenv.cfg").write_text("")
    assert folder_classes(tmp_path) == {}


def test_names_of_the_packages_own_classes_are_unique() -> None:
    files = [file for kind in KINDS for file in (PACKAGE / kind).rglob("*.py")]
    names = [name for file in files for name in re.findall(r"^class ([A-Za-z]\w*)", file.read_text(), re.MULTILINE)]
    assert sorted(names) == sorted(package_classes())


def test_a_short_name_stands_for_a_full_path() -> None:
    path = package_classes()["Distilled"]
    assert path == "kdlab.modules.distilled.Distilled"
    assert kind_of_path(path) == "modules"
    assert "Distil" not in package_classes()


def test_a_module_is_located_without_importing_it(tmp_path: Path) -> None:
    assert locate("json.decoder") is not None
    assert locate("torch.nn.functional") is not None
    assert locate("nowhere.at.all") is None
