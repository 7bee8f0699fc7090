"""Digests of what a stage's result depends on besides its configuration: users' code and files."""

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from kdlab.configuration.nodes import Call
from kdlab.configuration.sources import PACKAGE, locate

_INSTALLED = tuple(
    {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


def digest(value: str | bytes) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(value.encode() if isinstance(value, str) else value).hexdigest()


def hash_of(value: Mapping[str, Any]) -> str:
    """Twenty hex digits that are the same for the same JSON."""
    return digest(json.dumps(_numbers(value), sort_keys=True))[:20]


def _numbers(value: Any) -> Any:  # noqa: ANN401  any JSON
    """The same with 1.0 as 1, because which of them is written makes no difference to the result."""
    if isinstance(value, Mapping):
        return {name: _numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def code_of(calls: Iterable[Call]) -> dict[str, str]:
    """Digest by class path of the classes that live outside installed packages and outside kdlab.

    A digest covers the whole module of the class and every such module that it imports, at any depth: their syntax
    trees without comments, docstrings and layout.
    """
    digests = {}
    for call in calls:
        module = getattr(call.target, "__module__", "") or ""
        if outside(module) is not None:
            trees = {name: _tree_digest(file, _age(file)) for name, file in _closure(module).items()}
            digests[call.class_path] = digest("\n".join(f"{name} {trees[name]}" for name in sorted(trees)))
    return dict(sorted(digests.items()))


def outside(module: str) -> Path | None:
    """The file of a module that is neither installed nor kdlab's; None for all others."""
    if module.split(".")[0] in sys.stdlib_module_names:
        return None
    file = locate(module)
    if file is None or file.suffix != ".py":
        return None
    file = file.resolve()
    installed = any(part in ("site-packages", "dist-packages") for part in file.parts)
    return None if installed or any(file.is_relative_to(place) for place in (PACKAGE.resolve(), *_INSTALLED)) else file


def files_in(value: Any, folders: Iterable[Path]) -> dict[str, str]:  # noqa: ANN401  any JSON
    """Content hash of each file that a text in this configuration names, looked for in these folders in turn."""
    texts = {text for text in _texts(value) if text and len(text) < 1024 and "\0" not in text and "\n" not in text}
    found = {}
    for text in sorted(texts):
        file = next((folder / text for folder in folders if (folder / text).is_file()), None)
        if file is not None:
            found[text] = content_hash(file)
    return found


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401  any JSON
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(item)


def content_hash(file: Path) -> str:
    """SHA-256 of a file, remembered as long as its size and time stay."""
    return _content_hash(file.resolve(), _age(file))


@lru_cache(maxsize=64)
def _content_hash(file: Path, age: tuple[int, int]) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _age(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=256)
def _tree_digest(file: Path, age: tuple[int, int]) -> str:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            # Any text that stands alone does nothing, the docstring being one.
            node.body = [item for item in node.body if not _is_text(item)] or [ast.Pass()]
    return digest(ast.dump(tree))


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _closure(module: str) -> dict[str, Path]:
    """The module and all modules outside installed packages that it imports, by name."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = None if name in found else outside(name)
        if file is not None:
            found[name] = file
            waiting += _imports(file, name)
    return found


def _imports(file: Path, module: str) -> Iterator[str]:
    """Names that may be modules, of every import in the file; a name's packages count too, for their ``__init__``."""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
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
