from pathlib import Path

import pytest

from kdlab.configuration.document import load, parse_value, short
from kdlab.errors import ConfigurationError


def loaded(folder: Path, text: str) -> dict[str, object]:
    path = folder / "file.yaml"
    path.write_text(text)
    return load(path).content


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        loaded(folder, text)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.5e3", 1500.0),
        ("-.5", -0.5),
        ("3", 3),
        ("-7", -7),
        (".inf", float("inf")),
        ("true", True),
        ("on", "on"),
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        ("null", None),
        ("1.2.3", "1.2.3"),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
        ("", None),
    ],
)
def test_values_are_what_they_look_like(text: str, value: object) -> None:
    assert parse_value(text, "--set x") == value


def test_an_override_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"--set a=.*quote"):
        parse_value("[1, ", "--set a=[1, ")


def test_a_place_is_the_line_of_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a:\n  b: 1\n  c:\n    - x\n    - {d: 2}\n")
    document = load(path)
    assert ":5: a.c.1.d: wrong" in str((document / "a" / "c" / 1 / "d").error("wrong"))
    assert ((document / "a" / "b").value, (document / "a" / "c" / 1 / "d").value, (document / "x").value) == (
        1,
        2,
        None,
    )
    assert ":2: a.b.unknown: wrong" in str((document / "a" / "b" / "unknown").error("wrong"))


def test_the_place_of_a_replaced_value_is_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a:\n  b: {c: 1}\n")
    document = load(path)
    changed = document.replaced(("a", "b"), {"c": 2}, "--set a.b")
    assert str((changed / "a" / "b" / "c").error("wrong")) == "--set a.b: a.b.c: wrong"
    assert document.content == {"a": {"b": {"c": 1}}}


def test_anchors_and_merges_are_followed(tmp_path: Path) -> None:
    content = loaded(tmp_path, "a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")
    assert content["b"] == {"x": 1}
    assert content["c"] == {"x": 1, "y": 2}


def test_errors_of_syntax_name_file_and_line(tmp_path: Path) -> None:
    assert "file.yaml:4: not valid YAML: while parsing a flow sequence from line 3:" in refused(
        tmp_path, "a: 1\nb: 2\nc: [1, 2\n"
    )
    assert "file.yaml:2: not valid YAML" in refused(tmp_path, "a:\n\tb: 1\n")


def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    assert "file.yaml:3: the key 'a.b' stands twice, first in line 2" in refused(tmp_path, "a:\n  b: 1\n  b: 2\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "an empty file"),
        ("- 1\n", "is a mapping"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "not valid YAML"),
        ("a: &a [*a]\n", "contains itself"),
        ("true: 1\n", "a key must be text"),
        ("a: *nowhere\n", "not valid YAML"),
    ],
)
def test_what_is_no_experiment_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in refused(tmp_path, text)


def test_a_file_that_is_not_there_has_near_matches(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("a: 1")
    with pytest.raises(ConfigurationError, match=r"digit\.yaml: no such file; did you mean .*digits\.yaml"):
        load(tmp_path / "digit.yaml")


def test_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "weights.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigurationError, match="not a UTF-8 text file"):
        load(tmp_path / "weights.yaml")


def test_a_short_name_leaves_out_the_levels_of_the_form() -> None:
    assert short(("stages", "student", "module", "init_args", "alpha")) == "student.alpha"
    assert short(("stages",)) == "stages"
