"""Flat parameters under the short names by which users compare runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from kdlab.configuration.document import Keys, short

Flat = dict[str, str | float | int]


def flattened(stage: str, resolved: Mapping[str, Any]) -> Flat:
    """Return the parameters of a stage and of the data by their short names.

    A class appears by its name (``student.model``: ``MLP``), and its arguments below that (``student.model.hidden``).
    The level ``loss`` of a term is left out where every name stays unique: ``student.distill.soft.temperature``.

    Args:
        stage: the stage's name.
        resolved: the whole experiment as JSON, with all defaults.
    """
    pairs = [*_leaves(resolved["data"], ("data",))]
    for key, value in resolved["stages"][stage].items():
        # ``short`` leaves the key ``module`` out later, so that its arguments come directly below the stage.
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
        # ``short`` leaves this key out, and the stage's name alone would not say that its class is meant.
        return f"{keys[1]}.module"
    # The class of a term's loss keeps the word ``loss``, because that is the name of the value.
    return short(tuple(key for n, key in enumerate(keys) if not (drop_loss and key == "loss" and n < len(keys) - 1)))
