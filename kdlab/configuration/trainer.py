"""Arguments of Lightning's Trainer that an experiment may set, by the Trainer's own types."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer

from kdlab.configuration.document import Document, Keys
from kdlab.configuration.form import ELSEWHERE
from kdlab.configuration.nodes import Node
from kdlab.configuration.signatures import Signature, signature_of
from kdlab.configuration.typed import check_arguments
from kdlab.errors import listing, suggestion


def allowed() -> Signature:
    """The arguments of Lightning's Trainer that an experiment may set."""
    signature = signature_of(Trainer)
    return Signature({name: p for name, p in signature.parameters.items() if name not in ELSEWHERE}, False)


def check_trainer(trainer: Mapping[str, Any], document: Document, keys: Keys) -> dict[str, Node]:
    """The arguments that are given, checked against the Trainer's own types.

    Raises:
        ConfigurationError: If one is unknown or not of its type.
    """
    known = allowed().parameters
    for key in trainer:
        if key not in known:
            raise document.error(
                (*keys, str(key)),
                f"Lightning's Trainer has no argument {str(key)!r}{suggestion(str(key), known)}; "
                f"it has {listing(known, 40)}",
            )
    given = Signature({name: known[name] for name in trainer}, False)
    return check_arguments(given, trainer, "Trainer", document, keys)
