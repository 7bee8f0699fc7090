"""Flat parameters by the short names that users compare runs by."""

from collections.abc import Iterator, Mapping
from typing import Any

from kdlab.configuration.document import Keys, short

Flat = dict[str, str | float | int]


def flattened(stage: str, resolved: Mapping[str, Any]) -> Flat:
    """The parameters of a stage and of the data.

    A class stands as its name (``student.model``: ``MLP``) and its arguments below (``student.model.hidden``). The
    level ``loss`` of a term is left out where that leaves every name unique: ``student.distill.soft.temperature``.
    """
    pairs = [*_leaves(resolved["data"], ("data",))]
    for key, value in resolved["stages"][stage].items():
        # The stage's own class is its kind; its arguments stand directly below the stage.
        pairs += _leaves(value, ("stages", stage, key))
    shortened = [_short(keys, drop_loss=True) for keys, _ in pairs]
    flat: Flat = {}
    for (keys, value), name in zip(pairs, shortened, strict=True):
        flat[name if shortened.count(name) == 1 or "loss" not in keys else _short(keys, drop_loss=False)] = value
    return flat


def _leaves(node: Any, keys: Keys) -> Iterator[tuple[Keys, str | float | int]]:  # noqa: ANN401  any JSON
    if isinstance(node, Mapping):
        if "class_path" in node:
            yield keys, str(node["class_path"]).rsplit(".", 1)[-1]
        for key, value in node.items():
            if key != "class_path":
                yield from _leaves(value, (*keys, str(key)))
    elif isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        for position, item in enumerate(node):
            yield from _leaves(item, (*keys, str(position)))
    elif node is not None:
        yield keys, node if isinstance(node, str | float | int) else str(node)


def _short(keys: Keys, drop_loss: bool) -> str:
    if keys[-1] == "module":
        return f"{keys[1]}.module"
    # A class that is itself a term's loss keeps the word, for it is the value's name.
    return short(tuple(key for n, key in enumerate(keys) if not (drop_loss and key == "loss" and n < len(keys) - 1)))
