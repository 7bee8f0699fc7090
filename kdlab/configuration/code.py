"""Digests of code: the user's own code counts by its syntax tree, a library by its version."""

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from kdlab.configuration.libraries import version_of
from kdlab.configuration.sources import PACKAGE, locate, roots

_INSTALLED = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
#: Names of folders that hold installed packages, in whatever environment.
_PACKAGES = {"site-packages", "dist-packages"}


def digest(value: str | bytes) -> str:
    """Return the SHA-256 of a text or of bytes, in hex."""
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


def hash_of(value: Mapping[str, Any]) -> str:
    """Return twenty hex digits that are the same for equal JSON; the order of keys does not count, 1 and 1.0 differ."""
    return digest(json.dumps(value, sort_keys=True))[:20]


def code_of(modules: Iterable[str], folders: Sequence[Path]) -> dict[str, str]:
    """Return the code that these modules depend on, by name: a digest of each own module, a version of each library.

    A module is the user's own if it lies below one of the folders and not in an environment there. It counts together
    with every own module that it imports, at any depth; comments, docstrings and layout do not count. A library counts
    by the public version of its distribution, and its code is not read. Python's own modules and kdlab's do not count.

    Args:
        modules: full names of the modules that define the classes of a configuration.
        folders: the experiment's folder and the working directory.
    """
    digests: dict[str, str] = {}
    waiting = list(modules)
    seen: set[str] = set()
    seen_packages: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = own_file(name, folders)
        if file is not None:
            source = _source(name, file)
            digests[name] = source.digest
            waiting += source.imports
        elif (package := _library(name, folders)) is not None and package not in seen_packages:
            seen_packages.add(package)
            version = version_of(package)
            digests |= {} if version is None else {package: version}
    return dict(sorted(digests.items()))


def own_file(module: str, folders: Sequence[Path]) -> Path | None:
    """Return the file of a module that is the user's own; None for any other module."""
    if module.split(".")[0] in sys.stdlib_module_names:
        return None
    file = locate(module)
    return None if file is None or not _is_own(file.resolve(), folders) else file.resolve()


def _is_own(file: Path, folders: Sequence[Path]) -> bool:
    if any(file.is_relative_to(place) for place in (PACKAGE, *_INSTALLED)):
        return False
    for folder in (folder.resolve() for folder in folders):
        if file.is_relative_to(folder):
            # A virtual environment may lie inside the project, and its packages are not the user's own.
            above = file.relative_to(folder).parents[:-1]
            installed = any(_PACKAGES & set(part.parts) or (folder / part / "pyvenv.cfg").exists() for part in above)
            if not installed:
                return True
    return False


def _library(module: str, folders: Sequence[Path]) -> str | None:
    """Return the top-level package of a module that is neither the user's, nor Python's, nor kdlab's; else None."""
    package = module.split(".")[0]
    if not package or package in sys.stdlib_module_names or package in ("kdlab", "__main__"):
        return None
    # ``from own import Class`` gives the name ``own.Class``: it is no module, but its package is the user's.
    places = [place / "__init__.py" if place.is_dir() else place for place in roots(package)]
    return None if any(_is_own(place.resolve(), folders) for place in places) else package


@dataclass(frozen=True)
class _Source:
    """A module's digest, and the names that it imports."""

    digest: str
    imports: tuple[str, ...]


#: The source of each loaded module, with the spec of that import: a module that is reloaded gets a new spec.
_LOADED: dict[str, tuple[ModuleSpec, _Source]] = {}


def _source(name: str, file: Path) -> _Source:
    """Return the module as it was first read in this process, because later changes of its file do not run."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    loaded_from, source = _LOADED.get(name, (None, None))
    if spec is None or source is None or loaded_from is not spec:
        source = _parsed(file.read_bytes(), name, file.name)
    if spec is not None:
        _LOADED[name] = (spec, source)
    return source


@lru_cache(maxsize=256)
def _parsed(content: bytes, module: str, name: str) -> _Source:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # a compiled module, or one that nobody could import
        return _Source(digest(content), ())
    imports = tuple(_imports(tree, module, name == "__init__.py"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # A text that is a statement of its own does nothing, as a docstring does.
            node.body = [item for item in node.body if not _is_text(item)] or [ast.Pass()]
    return _Source(digest(ast.dump(tree)), imports)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """Yield every name in the file's imports that may be a module, and the packages above it for their ``__init__``."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    yield from _packages(".".join(package))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _packages(alias.name)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from _packages(source)
            # What is imported from a package may be a module of it.
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts)) if parts[0]]
