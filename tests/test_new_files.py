"""One new file in the package is a whole addition: it is listed, named in YAML and tested with its family."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    "losses/logits/newly_added_loss.py": '''
from kdlab.losses.logits.logit_mse import LogitMSE

class NewlyAddedLoss(LogitMSE):
    """The squared distance of the logits by another name."""
''',
    "metrics/newly_added_metric.py": '''
from torch import Tensor
from kdlab.metrics.base import PerSample
from kdlab.metrics.numerics import at_least_float32

class NewlyAddedMetric(PerSample):
    """The largest logit."""
    higher_is_better = True
    def update(self, logits: Tensor) -> None:
        self.add(at_least_float32(logits).amax(dim=1))
''',
    "explainers/newly_added_explainer.py": '''
from kdlab.explainers.input_gradient import InputGradient

class NewlyAddedExplainer(InputGradient):
    """The input gradient by another name."""
''',
    "data/newly_added_data.py": '''
from kdlab.data.digits import Digits

class NewlyAddedData(Digits):
    """The digits by another name."""
''',
}
FAMILIES = {
    "losses": (
        "NewlyAddedLoss",
        "losses/test_every_loss.py",
        "test_is_a_scalar_in_the_right_precision[NewlyAddedLoss]",
    ),
    "metrics": (
        "NewlyAddedMetric",
        "metrics/test_family.py",
        "test_keeps_the_promises_of_every_metric[NewlyAddedMetric]",
    ),
    "explainers": (
        "NewlyAddedExplainer",
        "explainers/test_family.py",
        "test_keeps_the_contract[dense-NewlyAddedExplainer]",
    ),
    "data": ("NewlyAddedData", "data/test_contract.py", "test_holds_the_contract[newly_added_data]"),
}
FULL_PATH = """
import sys
from kdlab.configuration.sources import package_classes
print(package_classes()[sys.argv[1]])
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package and its tests with one new file in each family."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("kdlab", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, text in FILES.items():
        (folder / "kdlab" / path).write_text(text)
    return folder


def output(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_file_is_listed_and_found_by_its_short_name(copy: Path, family: str) -> None:
    name, _, _ = FAMILIES[family]
    assert f"  {name}(" in output(copy, "-m", "kdlab", "list", family)
    (file,) = (path for path in FILES if path.startswith(family))
    assert output(copy, "-c", FULL_PATH, name).strip() == f"kdlab.{file.removesuffix('.py').replace('/', '.')}.{name}"


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_tests_of_the_family_run_on_a_new_file(copy: Path, family: str) -> None:
    _, file, case = FAMILIES[family]
    name = FAMILIES[family][0] if family != "data" else "newly_added_data"
    printed = output(copy, "-m", "pytest", "-q", "-rp", "-p", "no:cacheprovider", f"tests/{file}", "-k", name)
    assert [line for line in printed.splitlines() if line.startswith("PASSED ") and line.endswith(f"::{case}")]
