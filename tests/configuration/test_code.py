import ast
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdlab.configuration import libraries
from kdlab.configuration.code import code_of, own_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder with a package of two modules, importable; what is loaded in the test is forgotten after it."""
    monkeypatch.syspath_prepend(tmp_path / "project")
    before = set(sys.modules)
    mine = tmp_path / "project" / "mine"
    mine.mkdir(parents=True)
    (mine / "net.py").write_text(
        '"""Nets."""\nfrom torch import nn\nfrom .parts import size\n\n'
        'class Net(nn.Module):\n    """A net."""\n    def forward(self, inputs):\n        return inputs * size()\n'
    )
    (mine / "parts.py").write_text("def size():\n    return 2\n")
    libraries.version_of.cache_clear()
    yield tmp_path / "project"
    for name in set(sys.modules) - before:
        del sys.modules[name]
    libraries.version_of.cache_clear()


def digests(folder: Path, module: str = "mine.net") -> dict[str, str]:
    return code_of([module], [folder])


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def library(place: Path, name: str = "elsewhere", version: str | None = "1.0", title: str | None = None) -> Path:
    """A package of fifty modules that import each other, as pip puts it into a folder."""
    package = place / name
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .part0 import VALUE\n")
    for number in range(50):
        (package / f"part{number}.py").write_text(f"from . import part{(number + 1) % 50}\nVALUE = {number}\n")
    if version is not None:
        information = place / f"{title or name}-{version}.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {title or name}\nVersion: {version}\n")
        (information / "top_level.txt").write_text(f"{name}\n")
        (information / "RECORD").write_text(f"{name}/__init__.py,,\n")
    return package


def test_comments_docstrings_and_layout_do_not_count(folder: Path) -> None:
    before = digests(folder)
    edit(folder / "mine" / "net.py", '"""A net."""', '"""Another text."""')
    edit(folder / "mine" / "net.py", "return inputs * size()", "return (inputs *\n            size())  # why")
    edit(folder / "mine" / "parts.py", "return 2", '"""A size."""\n\n    return 2')
    assert digests(folder) == before


def test_a_change_of_the_code_counts(folder: Path) -> None:
    before = digests(folder)
    edit(folder / "mine" / "net.py", "inputs * size()", "inputs + size()")
    assert digests(folder) != before


def test_a_change_in_a_module_that_it_imports_counts(folder: Path) -> None:
    before = digests(folder)
    edit(folder / "mine" / "parts.py", "return 2", "return 3")
    assert digests(folder) != before
    assert set(before) == {"mine.net", "mine.parts", "torch"}


def test_what_runs_is_what_was_imported_and_not_what_the_file_says_now(folder: Path) -> None:
    module = importlib.import_module("mine.net")
    before = digests(folder)
    edit(folder / "mine" / "net.py", "inputs * size()", "inputs + size()")
    assert digests(folder) == before, "this process goes on with the code that it has"
    importlib.invalidate_caches()
    importlib.reload(module)
    assert digests(folder) != before


def test_pythons_and_the_packages_own_modules_do_not_count(folder: Path) -> None:
    assert code_of(["kdlab.losses.logits.soft_targets", "json", "builtins", "", "nothing.of.the.kind"], [folder]) == {}
    assert own_file("json", [folder]) is None


def test_a_library_counts_by_its_public_version(folder: Path) -> None:
    import torch

    assert code_of(["torch.optim.adamw", "torch.nn"], [folder]) == {"torch": torch.__version__.split("+")[0]}
    assert list(code_of(["sklearn.tree"], [folder])) == ["sklearn"], "its distribution has another name"


@pytest.mark.parametrize("place", ["pythonpath", "home/.local/lib/python3/site-packages", "project/env/lib/site"])
def test_a_library_outside_the_environment_is_known_by_its_version_and_never_parsed(
    folder: Path, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = library(tmp_path / place)
    (folder / "env").mkdir(exist_ok=True)
    (folder / "env" / "pyvenv.cfg").touch()
    monkeypatch.syspath_prepend(tmp_path / place)
    edit(folder / "mine" / "parts.py", "return 2", "import elsewhere\n    return 2")
    parsed: list[object] = []
    parse = ast.parse

    def counting(source: bytes) -> ast.Module:
        parsed.append(source)
        return parse(source)

    monkeypatch.setattr(ast, "parse", counting)
    # Where the home is the working directory, too, what pip put there is none of the user's code.
    found = code_of(["mine.net", "elsewhere.part3"], [folder, tmp_path / "home"])
    assert found["elsewhere"] == "1.0"
    assert len(parsed) <= 2, "only the two own modules are read"
    (package / "part0.py").write_text("VALUE = 7\n")
    assert code_of(["elsewhere.part3"], [folder])["elsewhere"] == "1.0"


def test_another_version_of_a_library_counts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library(tmp_path / "old", version="1.0")
    library(tmp_path / "new", version="1.1+built.here")
    found = []
    for place in ("old", "new"):
        with monkeypatch.context() as patched:
            patched.syspath_prepend(tmp_path / place)
            libraries.version_of.cache_clear()
            found.append(code_of(["elsewhere"], [folder]))
    assert found == [{"elsewhere": "1.0"}, {"elsewhere": "1.1"}]


@pytest.mark.parametrize("version", [None, "1.0"])
def test_a_package_without_a_version_of_its_own_counts_by_its_files(
    folder: Path, tmp_path: Path, version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a version it is one that was installed for editing: its code lies elsewhere and changes under that version.
    package = library(tmp_path / "checkout", version=None)
    monkeypatch.syspath_prepend(tmp_path / "checkout")
    (tmp_path / "installed").mkdir()
    if version is not None:
        information = tmp_path / "installed" / "elsewhere-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
        monkeypatch.syspath_prepend(tmp_path / "installed")
    before = code_of(["elsewhere"], [folder])
    assert list(before) == ["elsewhere"]
    libraries.version_of.cache_clear()
    assert code_of(["elsewhere"], [folder]) == before
    (package / "part9.py").write_text("VALUE = 7\n")
    libraries.version_of.cache_clear()
    assert code_of(["elsewhere"], [folder]) != before


def test_a_module_that_is_no_python_text_counts_by_its_bytes(folder: Path) -> None:
    (folder / "odd.py").write_bytes(b"print 'of another age'\n")
    before = digests(folder, "odd")
    assert list(before) == ["odd"]
    (folder / "odd.py").write_bytes(b"print 'of this age'\n")
    assert digests(folder, "odd") != before
