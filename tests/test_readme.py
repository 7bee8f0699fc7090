"""What the README shows works as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def file_blocks() -> dict[str, str]:
    """Blocks whose first line is a comment with the path of a file."""
    found = [re.match(r"# (experiments/\S+)\n", block) for language in ("python", "yaml") for block in blocks(language)]
    return {match[1]: match.string for match in found if match}


def write_files(folder: Path) -> None:
    for path, text in file_blocks().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def kdlab(folder: Path, *arguments: str) -> str:
    """Run a command there; its output, which must not hold an error."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-m", "kdlab", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_make_command_is_a_target_with_known_variables_and_files() -> None:
    commands = re.findall(r"^make ([^#\n]*)", "\n".join(blocks("sh")), re.MULTILINE) + re.findall(r"`make (.+?)`", TEXT)
    assert len(commands) > 5
    for command in commands:
        target = command.split()[0]
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"make {command}: no target {target}"
        for variable, value in re.findall(r"([A-Z_]+)=(\S+)", command):
            assert f"$({variable})" in MAKEFILE, f"make {command}: the Makefile knows no {variable}"
            assert variable != "NAME" or (ROOT / "experiments" / f"{value}.yaml").exists(), f"no experiment {value}"


def test_links_and_pictures_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)", TEXT)
    assert len(targets) > 2
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), f"{target} does not exist"


def test_own_parts_are_ten_lines_each() -> None:
    assert len([path for path in file_blocks() if path.endswith(".py")]) >= 2
    for path, text in file_blocks().items():
        lines = [line for line in text.splitlines() if line and not line.startswith(("#", "import ", "from "))]
        assert len(lines) <= 10 or path.endswith(".yaml"), f"{path} has {len(lines)} lines"


def test_the_loss_and_the_model_are_plain_torch() -> None:
    names: dict[str, type] = {}
    for path, text in file_blocks().items():
        if path.endswith(("tiny.py", "total_variation.py")):
            assert "kdlab" not in text
            exec(text, names)
    logits = names["Tiny"](inputs=4, classes=3)(torch.randn(5, 4))
    assert names["TotalVariation"]()(logits, logits).item() == 0.0
    assert logits.shape == (5, 3)


@pytest.mark.filterwarnings("ignore:GPU available but not used")
def test_the_plain_python_way_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # Lightning writes checkpoints where it is called
    plain = [block for block in blocks("python") if not block.startswith("# experiments/")]
    body = plain[-1].split("\n\n\n", 1)[1]
    assert len([line for line in body.splitlines() if line]) <= 15
    exec("\n".join(plain), {"__name__": "readme"})


def test_the_experiment_can_be_read(tmp_path: Path) -> None:
    write_files(tmp_path)
    shown = kdlab(tmp_path, "show", "experiments/waves.yaml")
    assert "TotalVariation" in shown


def test_the_overrides_that_it_shows_are_known() -> None:
    overrides = [word for text in re.findall(r'SET="(.*?)"', TEXT) for word in text.split()]
    assert "student.temperature=2" in overrides
    kdlab(ROOT, "show", "experiments/digits.yaml", "--set", *overrides)


@pytest.mark.slow
def test_the_experiment_with_own_data_model_and_loss_runs(tmp_path: Path) -> None:
    write_files(tmp_path)
    printed = kdlab(tmp_path, "run", "experiments/waves.yaml", "--set", "trainer.max_epochs=2", "--seeds", "0,")
    assert all(stage in printed for stage in ("teacher", "baseline", "student", "joint"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_first_command_works_in_a_fresh_clone(tmp_path: Path) -> None:
    # With the environment at hand, since what pip installs is not this test's matter; `make` finds it up to date.
    clone = tmp_path / "kdlab"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name)
    (clone / ".venv" / "bin").mkdir(parents=True)
    python = clone / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (clone / ".venv" / ".stamp").touch()
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    (command,) = [line for line in blocks("sh")[0].splitlines() if line.startswith("make experiment")]
    result = subprocess.run(
        [*command.split(), "SEEDS=1", "SET=trainer.max_epochs=1"],
        cwd=clone, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert "report" in result.stdout
