import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from kdlab.configuration.classes import find
from kdlab.configuration.code import code_of, files_in, outside
from kdlab.configuration.document import Document
from kdlab.configuration.nodes import Call


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "net.py").write_text(
        '"""Nets."""\nfrom torch import nn\nfrom .parts import size\n\n'
        'class Net(nn.Module):\n    """A net."""\n    def forward(self, inputs):\n        return inputs * size()\n'
    )
    (tmp_path / "mine" / "parts.py").write_text("def size():\n    return 2\n")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("mine"):
            del sys.modules[name]


def digests(folder: Path) -> dict[str, str]:
    document = Document(folder / "file.yaml", {})
    return code_of([Call(find("mine.net.Net", document, ()), "mine.net.Net", {}, document, ())])


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


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


def test_installed_packages_and_the_packages_own_classes_do_not_count(folder: Path) -> None:
    document = Document(folder / "file.yaml", {})
    own = find("kdlab.losses.logits.soft_targets.SoftTargets", document, ())
    calls = [Call(target, "x", {}, document, ()) for target in (nn.Linear, own, dict)]
    assert code_of(calls) == {}
    assert outside("json") is None


def test_files_that_a_configuration_names_count_by_content(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    config = {"init_args": {"path": "table.csv", "column": "b", "more": ["absent.csv"]}}
    before = files_in(config, [tmp_path])
    assert list(before) == ["table.csv"]
    (tmp_path / "table.csv").write_text("a,b\n1,3\n")
    assert files_in(config, [tmp_path]) != before
