"""Find free text in a table, and print the block that reads it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from kdlab.commands.look import block, proof
from kdlab.data.tabular.columns import Column, LevelColumn
from kdlab.data.tabular.suspicions import identity
from kdlab.data.text import Text
from kdlab.errors import listing

WORD = re.compile(r"[^\W\d_]{2,}")
#: A column with fewer words per row on average holds names, codes or categories.
FEWEST_WORDS = 3
#: About how many different texts are looked at.
FIRST_TEXTS = 1000
#: A proposed length is a multiple of the first, at most the second, and leaves this share of the texts whole.
STEP, LONGEST, WHOLE = 16, 512, 0.99


def free_text(inputs: Mapping[str, Column]) -> LevelColumn | None:
    """Return the column with the most words per row; None if no text is free, or a column holds numbers or dates."""
    levels = [column for column in inputs.values() if isinstance(column, LevelColumn)]
    if len(levels) < len(inputs):
        return None
    wordy = [column for column in levels if identity(column) is not None and _words(column) >= FEWEST_WORDS]
    return max(wordy, key=_words, default=None)


def described(text: LevelColumn, inputs: Mapping[str, Column]) -> str:
    """Return a sentence on what the text is like and which columns are not read beside it."""
    others = [name for name in inputs if name != text.name]
    beside = f"; not read beside it: {listing(others)}" if others else ""
    return f"column {text.name!r} is free text of {_words(text):.0f} words a row{beside}"


def text_block(text: str, arguments: Mapping[str, Any], name: str) -> Iterator[str]:
    """Yield comments on what the block holds, and below them the block, with a length that suits the texts.

    Args:
        text: The name of the column.
        arguments: The other arguments of ``Text``, with ``path`` among them.
        name: What the comments call the data.

    Raises:
        ValueError: If the texts cannot be read.
        ModuleNotFoundError: If the package tokenizers is missing.
    """
    arguments = {"path": arguments["path"], "text": text, **arguments}
    whole = Text(**arguments, length=LONGEST)
    whole.setup()
    # Token 0 is padding, which does not count.
    tokens = torch.cat([(tensors["inputs"] != 0).sum(1) for tensors in whole.splits.values()])
    needed = int(tokens.double().quantile(WHOLE, interpolation="higher"))
    arguments["length"] = -(-needed // STEP) * STEP
    yield from proof(Text(**arguments), name)
    yield block("Text", arguments)


def _words(column: LevelColumn) -> float:
    texts = column.levels[:: max(1, len(column.levels) // FIRST_TEXTS)]
    return sum(len(WORD.findall(text)) for text in texts) / len(texts)
