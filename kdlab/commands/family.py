"""Which classes of the package an experiment would name, and which only help those; told from their sources."""

import ast
from collections.abc import Sequence

from kdlab.configuration.sources import ClassSource, derives_from_module
from kdlab.signals.vocabulary import VOCABULARY

#: The method by which a family's members are used.
USED_BY = {"losses": "forward", "metrics": "update", "explainers": "attribute"}
#: Bases whose classes a family consists of.
DERIVED = {
    "data": ("DataModule",),
    "modules": ("LightningModule", "Combination", "Teacher"),
    "callbacks": ("Callback",),
}


def members(kind: str, sources: Sequence[ClassSource]) -> list[ClassSource]:
    """Those classes of a family that can stand in an experiment by themselves; what only serves them is left out."""
    nodes = {source.name: _node(source) for source in sources}
    used_as_base = {base for node in nodes.values() for base in _bases(node)}
    return [source for source in sources if _stands_alone(kind, source, nodes, used_as_base)]


def _stands_alone(kind: str, source: ClassSource, nodes: dict[str, ast.ClassDef], bases: set[str]) -> bool:
    if kind == "modules" and _asked(source.name, "factor", nodes) is not None:
        return True  # a schedule
    if kind in DERIVED:
        return any(base in _ancestors(source.name, nodes) for base in DERIVED[kind])
    if kind == "models":
        return derives_from_module(source.name, nodes) and not _is_part(source)
    names = _asked(source.name, USED_BY[kind], nodes)
    if names is None:
        return "loss: nn.Module" in source.arguments  # it asks for what the loss inside asks for
    if kind == "explainers":
        # A base that leaves the prediction to others is no explainer; one that predicts is, whoever builds on it.
        unfinished = source.name in bases and _asked(source.name, "forward", nodes) is None
        return bool(source.arguments) and source.arguments[0].startswith("model") and not unfinished
    return names <= set(VOCABULARY) and (kind == "losses" or source.name not in bases or _directed(nodes[source.name]))


def _directed(node: ast.ClassDef) -> bool:
    """Whether a metric says itself which way is better; one that only serves as a base leaves that open."""
    targets = [item.targets[0] for item in node.body if isinstance(item, ast.Assign)]
    return any(isinstance(target, ast.Name) and target.id == "higher_is_better" for target in targets)


def _asked(name: str, method: str, nodes: dict[str, ast.ClassDef]) -> set[str] | None:
    """The parameters of a method of a class or its ancestors; None where there is no such method."""
    for one in (name, *_ancestors(name, nodes)):
        for item in nodes[one].body if one in nodes else ():
            if isinstance(item, ast.FunctionDef) and item.name == method:
                return {argument.arg for argument in item.args.args if argument.arg != "self"}
    return None


def _ancestors(name: str, nodes: dict[str, ast.ClassDef]) -> list[str]:
    found: list[str] = []
    for base in _bases(nodes[name]) if name in nodes else ():
        found += [base, *_ancestors(base, nodes)]
    return found


def _is_part(source: ClassSource) -> bool:
    """Whether others in the same file build themselves of this class; to derive from it is not meant."""
    for node in ast.parse(source.file.read_text(encoding="utf-8")).body:
        parts: list[ast.stmt] = [node]
        if isinstance(node, ast.ClassDef):
            parts = [] if node.name == source.name else node.body
        if any(isinstance(name, ast.Name) and name.id == source.name for part in parts for name in ast.walk(part)):
            return True
    return False


def _bases(node: ast.ClassDef) -> list[str]:
    return [ast.unparse(base).split("[")[0].rsplit(".", 1)[-1] for base in node.bases]


def _node(source: ClassSource) -> ast.ClassDef:
    tree = ast.parse(source.file.read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == source.name)
