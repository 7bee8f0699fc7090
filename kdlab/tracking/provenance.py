"""The origin of a result: command, commit, versions, machine."""

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from kdlab.tracking.addresses import shown

PACKAGES = ("kdlab", "torch", "lightning", "torchmetrics", "captum", "mlflow")


def provenance() -> dict[str, str]:
    """Return command, commit, machine and ``version.<package>`` as strings; what is not known is left out."""
    program = Path(sys.argv[0])
    command = ["kdlab" if program.name in ("__main__.py", "kdlab") else program.name, *sys.argv[1:]]
    facts = {
        # An argument may be an address with a password.
        "command": shlex.join(shown(word) for word in command),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "version.python": platform.python_version(),
        "commit": _commit(),
    }
    facts |= {f"version.{package}": _version(package) for package in PACKAGES}
    return {key: value for key, value in facts.items() if value}


def _commit() -> str:
    """Return the commit of the working folder, with ``-dirty`` if tracked files differ from it, empty outside git."""
    # Without the exclusion, a tag's name would stand in place of the commit's.
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
