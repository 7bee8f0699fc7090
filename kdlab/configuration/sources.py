"""Classes and their constructor arguments, read from source files without importing them."""

import ast
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
#: Kinds of classes that the package holds, each in a folder (or file) of that name.
KINDS = ("data", "models", "modules", "losses", "explainers", "metrics", "callbacks")
#: Where a class outside the package belongs, by the name of what it derives from; the first that fits.
BASES = {
    "LightningDataModule": "data",
    "DataModule": "data",
    "LightningModule": "modules",
    "Supervised": "modules",
    "Distilled": "modules",
    "Joint": "modules",
    "Metric": "metrics",
    "PerSample": "metrics",
    "Callback": "callbacks",
}
#: So many files of a user's folder are looked at, in case it is somebody's home.
FILES = 300
#: Parameters that only a loss has in its ``forward``.
LOSS_WORDS = {"logits", "teacher_logits", "preds", "features", "attributions", "target", "explainer_logits"}
#: Networks of torch that are often imported by their own names.
_NETWORKS = {"Module", "Sequential", "ModuleList", "ModuleDict"}
#: Those that compute nothing by themselves.
_WITHOUT_FORWARD = ("Module", "ModuleList", "ModuleDict", "ParameterList", "ParameterDict")


@dataclass(frozen=True)
class ClassSource:
    """A class as its file describes it.

    ``arguments`` holds one text for each constructor argument, as it stands in the file (``alpha: float = 1.0``).
    """

    name: str
    module: str
    file: Path
    line: int
    kind: str
    summary: str
    arguments: tuple[str, ...]

    @property
    def path(self) -> str:
        """The full class path."""
        return f"{self.module}.{self.name}"


@lru_cache(maxsize=1)
def package_files() -> tuple[tuple[str, str, Path], ...]:
    """Kind, module name and path of each file that may hold classes for an experiment."""
    found = []
    for kind in KINDS:
        single = PACKAGE / f"{kind}.py"
        files = [single] if single.exists() else sorted((PACKAGE / kind).rglob("*.py"))
        for file in files:
            parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
            if not file.name.startswith("_"):
                found.append((kind, ".".join(parts), file))
    return tuple(found)


@lru_cache(maxsize=1)
def package_classes() -> tuple[ClassSource, ...]:
    """Every public class of the package that an experiment can name."""
    return tuple(found for kind, module, file in package_files() for found in classes_of(file, module, kind))


@lru_cache(maxsize=256)
def full_names(name: str) -> tuple[str, ...]:
    """Full paths of the package's classes with this name; only files in which it stands are parsed."""
    return tuple(
        found.path
        for kind, module, file in package_files()
        if f"class {name}" in file.read_text(encoding="utf-8")
        for found in classes_of(file, module, kind)
        if found.name == name
    )


def folder_classes(folder: Path) -> list[ClassSource]:
    """Every public class in a user's folder that looks like a data set, model, loss, explainer or metric."""
    trees = {file: _tree(file) for file in islice(_own_files(folder), FILES)}
    known = {name: node for tree in trees.values() for name, node in _nodes(tree).items()}
    found = []
    for file, tree in trees.items():
        module = ".".join(file.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        found += [source for source in _classes_in(tree, file, module, None, known) if source.kind]
    return found


def _own_files(folder: Path, depth: int = 3) -> Iterator[Path]:
    """Python files of a user's folder; virtual environments, hidden folders and kdlab itself are none of them."""
    if folder.resolve() == PACKAGE or (folder / "pyvenv.cfg").exists():
        return
    entries = sorted(folder.iterdir()) if os.access(folder, os.R_OK) else []
    yield from (entry for entry in entries if entry.suffix == ".py" and entry.is_file())
    for entry in entries:
        hidden = entry.name.startswith((".", "_")) or entry.name == "node_modules"
        if depth and not hidden and entry.is_dir() and not entry.is_symlink():
            yield from _own_files(entry, depth - 1)


def classes_of(file: Path, module: str, kind: str | None) -> list[ClassSource]:
    """Public classes of one file, abstract ones and protocols left out; a file that is no valid Python has none."""
    return _classes_in(_tree(file), file, module, kind, {})


def derives_from_module(name: str, nodes: Mapping[str, ast.ClassDef]) -> bool:
    """Whether a class is a network: one of torch.nn's, or one that builds on it by way of these classes."""
    return any(base.startswith(("nn.", "torch.nn.")) or base in _NETWORKS for base in _ancestors(name, nodes))


def _tree(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return ast.Module([], [])


def _nodes(tree: ast.Module) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _ancestors(name: str, nodes: Mapping[str, ast.ClassDef], seen: tuple[str, ...] = ()) -> list[str]:
    """What a class derives from, as it is written, at any depth as far as these classes tell."""
    found: list[str] = []
    for base in nodes[name].bases if name in nodes and name not in seen else ():
        written = ast.unparse(base).split("[")[0]
        found += [written, *_ancestors(written.rsplit(".", 1)[-1], nodes, (*seen, name))]
    return found


def _classes_in(
    tree: ast.Module, file: Path, module: str, kind: str | None, known: Mapping[str, ast.ClassDef]
) -> list[ClassSource]:
    nodes = _nodes(tree)
    found = []
    for node in nodes.values():
        bases = [ast.unparse(base).split("[")[0].rsplit(".", 1)[-1] for base in node.bases]
        if node.name.startswith("_") or {"Protocol", "ABC", "NamedTuple", "TypedDict"} & set(bases):
            continue
        summary = (ast.get_docstring(node) or "").split("\n\n")[0]
        found.append(
            ClassSource(
                node.name,
                module,
                file,
                node.lineno,
                kind if kind is not None else _kind(node, {**known, **nodes}),
                " ".join(summary.split()),
                tuple(_arguments(node, nodes)),
            )
        )
    return found


def locate(module: str) -> Path | None:
    """The file of a module, found without importing it or its parents (except that loaded ones are asked)."""
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
    """The folders of a top package, or the file of a single module; nothing where it cannot be imported."""
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


def _kind(node: ast.ClassDef, nodes: Mapping[str, ast.ClassDef]) -> str:
    """What a class outside the package is, judged by what it derives from and by methods; empty where it is none."""
    ancestors = _ancestors(node.name, nodes)
    short = [base.rsplit(".", 1)[-1] for base in ancestors]
    for base in short:
        if base in BASES:
            return BASES[base]
    methods = {
        item.name: item
        for one in reversed([node, *(nodes[base] for base in short if base in nodes)])
        for item in one.body
        if isinstance(item, ast.FunctionDef)
    }
    if "attribute" in methods:
        return "explainers"
    if "forward" in methods:
        return "losses" if {argument.arg for argument in methods["forward"].args.args} & LOSS_WORDS else "models"
    if not derives_from_module(node.name, nodes) or set(short) & set(_WITHOUT_FORWARD):
        return ""
    return "losses" if any(base.endswith("Loss") for base in short) else "models"


def _arguments(node: ast.ClassDef, siblings: dict[str, ast.ClassDef]) -> Iterator[str]:
    """The constructor's arguments; those of a base in the same file where the class has no constructor."""
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    if "__init__" in methods:
        signature = methods["__init__"].args
        positional = [*signature.posonlyargs, *signature.args]
        defaults: list[ast.expr | None] = [None] * (len(positional) - len(signature.defaults))
        for argument, default in [
            *list(zip(positional, [*defaults, *signature.defaults], strict=True))[1:],
            *zip(signature.kwonlyargs, signature.kw_defaults, strict=True),
        ]:
            yield ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")
        return
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        yield from (ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign))
        return
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in siblings and base.id != node.name:
            yield from _arguments(siblings[base.id], siblings)
            return
