"""JSON Lines as people have them: what each value becomes, and the one line that refuses the rest."""

import gzip
from pathlib import Path

import pytest
import torch

from kdlab.data.table import Table
from kdlab.data.tabular.json_lines import JsonLinesFile


def written(folder: Path, text: str, encoding: str = "utf-8", name: str = "t.jsonl") -> Path:
    path = folder / name
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def columns_of(path: Path, *as_text: str) -> dict[str, list[object]]:
    columns = JsonLinesFile.opened(path, None).read(".", (), as_text)
    return {name: column.to_pylist() for name, column in columns.items()}


def test_values_keep_their_kinds_and_a_key_that_a_line_lacks_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path, '{"n": 1, "b": true, "t": "é\u2028x", "m": 1, "l": [1, "a"]}\n\n{"n": 2.5, "m": "x"}\n')
    assert columns_of(path) == {
        "n": [1.0, 2.5],
        "b": [True, None],
        "t": ["é\u2028x", None],
        "m": ["1", "x"],
        "l": ['[1, "a"]', None],
    }
    assert columns_of(path, "n", "b")["b"] == ["true", None]
    assert JsonLinesFile.opened(path, None).place(1) == f"{path}, line 3"


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-16", "t.ndjson"), ("latin-1", "t.jsonl"), ("utf-8", "t.jsonl.gz")]
)
def test_encodings_and_compressed_files_are_read(tmp_path: Path, encoding: str, name: str) -> None:
    assert columns_of(written(tmp_path, '{"t": "grün"}\n', encoding, name)) == {"t": ["grün"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows"),
        ('{"a": 1}\n\n{"a": }\n', "line 3: no JSON: Expecting value at character 7"),
        ('{"a": 1}\n[1, 2]\n', r"line 2: \[1, 2\] is no object with keys"),
        ('{"a": 1}\n{"a": [1]}\n', "line 2: column 'a' holds a list, not one value a row"),
        ('{"a": {"b": 1}}\n', "line 1: column 'a' holds an object"),
        ('{"a": "\\ud83d\\ude00"}\n{"a": "\\ud83d"}\n', r"line 2: '\\ud83d' is one half of a character"),
    ],
)
def test_what_is_no_table_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        columns_of(written(tmp_path, text), "a")


def test_bytes_that_are_no_text_in_the_encoding_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": 1}\n{"a": "é"}\n', "latin-1")
    with pytest.raises(ValueError, match="line 2: bytes that are no text in utf-8"):
        JsonLinesFile.opened(path, "utf-8")


def test_a_table_reads_them_like_any_other_file(tmp_path: Path) -> None:
    lines = [f'{{"x": {row / 4}, "kind": "{"ab"[row // 2 % 2]}"}}' for row in range(40)]
    cells = [f"{row / 4},{'ab'[row // 2 % 2]}" for row in range(40)]
    data = Table(str(written(tmp_path, "\n".join(lines))), "kind")
    same = Table(str(written(tmp_path, "\n".join(["x,kind", *cells, ""]), name="t.csv")), "kind")
    data.setup()
    same.setup()
    assert torch.equal(data.splits["test"]["inputs"], same.splits["test"]["inputs"])
    assert data.content_hash() == same.content_hash()
