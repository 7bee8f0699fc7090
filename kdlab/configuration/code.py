"""Digests of code: a user's own by its syntax trees, a library by its version."""

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
#: Folders that hold what somebody installed, wherever they lie.
_PACKAGES = {"site-packages", "dist-packages"}


def digest(value: str | bytes) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


def hash_of(value: Mapping[str, Any]) -> str:
    """Twenty hex digits that are the same for the same JSON; the order of keys does not count, 1 and 1.0 differ."""
    return digest(json.dumps(value, sort_keys=True))[:20]


def code_of(modules: Iterable[str], folders: Sequence[Path]) -> dict[str, str]:
    """What stands behind classes, by name: a digest of each own module, a version of each library.

    A module is the user's own where it lies below one of the folders and in no environment there. It counts with every
    own module that it imports, at any depth, by the syntax tree without comments, docstrings and layout. A library
    counts by the public version of its distribution; its code is not looked at. Python's own modules and kdlab's do not
    count.

    Args:
        modules: full names of the modules in which the classes stand.
        folders: the experiment's and the working directory.
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
    """The file of a module that is the user's own; None for all others."""
    if module.split(".")[0] in sys.stdlib_module_names:
        return None
    file = locate(module)
    return None if file is None or not _is_own(file.resolve(), folders) else file.resolve()


def _is_own(file: Path, folders: Sequence[Path]) -> bool:
    if any(file.is_relative_to(place) for place in (PACKAGE, *_INSTALLED)):
        return False
    for folder in (folder.resolve() for folder in folders):
        if file.is_relative_to(folder):
            above = file.relative_to(folder).parents[:-1]
            installed = any(_PACKAGES & set(part.parts) or (folder / part / "pyvenv.cfg").exists() for part in above)
            if not installed:
                return True
    return False


def _library(module: str, folders: Sequence[Path]) -> str | None:
    """The top package of a module that is neither own, nor Python's, nor kdlab's."""
    package = module.split(".")[0]
    if not package or package in sys.stdlib_module_names or package in ("kdlab", "__main__"):
        return None
    # ``own.Class`` of ``from own import Class`` is no module, and its package is the user's.
    places = [place / "__init__.py" if place.is_dir() else place for place in roots(package)]
    return None if any(_is_own(place.resolve(), folders) for place in places) else package


@dataclass(frozen=True)
class _Source:
    """A module's digest, and the names that it imports."""

    digest: str
    imports: tuple[str, ...]


#: What was read of modules that are loaded, each with the loading that it belongs to.
_LOADED: dict[str, tuple[ModuleSpec, _Source]] = {}


def _source(name: str, file: Path) -> _Source:
    """The module as this process has it: a file that changed since it was first looked at is not what would run."""
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
            # Any text that stands alone does nothing, the docstring being one.
            node.body = [item for item in node.body if not _is_text(item)] or [ast.Pass()]
    return _Source(digest(ast.dump(tree)), imports)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """Names that may be modules, of every import in the file; a name's packages count too, for their ``__init__``."""
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
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _packages(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: n + 1]) for n in range(len(parts)) if parts[0]]
