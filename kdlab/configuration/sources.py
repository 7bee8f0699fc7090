"""Find classes and modules by their files alone: nothing is imported."""

import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
#: Kinds of classes that the package holds, each in a folder of that name.
KINDS = ("data", "models", "modules", "losses", "explainers", "metrics", "callbacks")
#: The most files of a user's folder that are read: the folder may be somebody's home.
FILES = 300
_PUBLIC_CLASS = re.compile(r"^class ([A-Za-z]\w*)", re.MULTILINE)


@lru_cache(maxsize=1)
def package_classes() -> dict[str, str]:
    """Return the full paths of kdlab's public classes by their names, which are unique, in the order of kinds."""
    files = [file for kind in KINDS for file in sorted((PACKAGE / kind).rglob("*.py"))]
    return {name: path for file in files for name, path in _classes_in(file, PACKAGE.parent)}


def kind_of_path(path: str) -> str:
    """Return the kind of one of kdlab's own classes: ``losses`` for ``kdlab.losses.logits.dist.DIST``."""
    return path.split(".")[1]


def folder_classes(folder: Path) -> dict[str, str]:
    """Return the names of the public classes in a user's folder, by their full paths."""
    return {path: name for file in islice(_own_files(folder), FILES) for name, path in _classes_in(file, folder)}


def _classes_in(file: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Yield names and full paths of a file's public classes; ``root`` is the folder from which it is imported."""
    module = ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    # A file in another encoding is not read whole, but the names of its classes stay readable.
    for name in _PUBLIC_CLASS.findall(file.read_text(encoding="utf-8", errors="replace")):
        yield name, f"{module}.{name}"


def _own_files(folder: Path, depth: int = 3) -> Iterator[Path]:
    """Yield the Python files of a user's folder, except in environments and hidden folders, and except kdlab's own."""
    if folder.resolve() == PACKAGE or (folder / "pyvenv.cfg").exists():
        return
    entries = sorted(folder.iterdir()) if os.access(folder, os.R_OK) else []
    yield from (entry for entry in entries if entry.suffix == ".py" and entry.is_file())
    for entry in entries:
        hidden = entry.name.startswith((".", "_")) or entry.name == "node_modules"
        if depth and not hidden and entry.is_dir() and not entry.is_symlink():
            yield from _own_files(entry, depth - 1)


def locate(module: str) -> Path | None:
    """Return the file of a module, found without importing the module or its parents; None if there is none."""
    # What is loaded counts, even if a search would find another file by now.
    loaded = sys.modules.get(module)
    if loaded is not None and getattr(loaded, "__file__", None):
        return Path(str(loaded.__file__))
    first, *rest = module.split(".")
    for folder in roots(first):
        place = folder.joinpath(*rest)
        for file in (place.with_suffix(".py") if rest else place, place / "__init__.py"):
            if file.is_file():
                return file
    return None


def roots(package: str) -> Iterator[Path]:
    """Yield the folders of a top-level package, or the file of a single module; nothing if it cannot be imported."""
    parent = sys.modules.get(package)
    try:
        spec = parent.__spec__ if parent is not None else importlib.util.find_spec(package)
    except ValueError:
        return
    if spec is None:
        return
    yield from (Path(folder) for folder in spec.submodule_search_locations or ())
    if spec.origin is not None and spec.origin.endswith(".py"):
        yield Path(spec.origin)
