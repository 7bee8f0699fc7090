"""A transformer of Hugging Face that classifies texts."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from kdlab.data.paths import resolved
from kdlab.models.bag_of_embeddings import PADDING, as_tokens

#: What transformers calls classes that nobody named.
UNNAMED = "LABEL_"
#: BERT-Tiny (Turc et al. 2019, table 1, https://arxiv.org/abs/1908.08962).
TINY = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512}


class HuggingFaceText(nn.Module):
    """A network of the package transformers from token numbers to logits; padding is masked, nothing is downloaded.

    Either one that somebody trained, in a folder, or a new one of an architecture; with neither named, a new BERT-Tiny.
    Takes token numbers (batch, length), as ``Text`` makes them, and returns logits (batch, classes). Layers are those
    of ``network``, transformers' own.

    Args:
        classes: Number of logits; the data's.
        vocabulary: How many tokens there are; the data's.
        length: Tokens of a text; the data's.
        class_names: What the classes are called; the data's. Classes that a trained network names are put in this
            order.
        path: A folder as ``save_pretrained`` writes it (``config.json``, ``model.safetensors``). Its own tokens are
            needed: ``tokenizer: {class_path: TokenizerFile}`` of ``Text`` reads its ``tokenizer.json``. Layers that
            are not there, as the last one of a network that never classified, begin at random.
        architecture: What transformers calls a new network's kind, such as ``bert`` or ``distilbert``.
        settings: Of the architecture's configuration, such as ``{hidden_size: 64, num_hidden_layers: 2}``; else its
            own, which for BERT are 110 million parameters.

    Raises:
        ValueError: If a size is not positive, there are both path and architecture or settings without one, an
            architecture or a setting does not exist, or the network has fewer tokens or places than the data, or other
            classes.
        FileNotFoundError: If the folder is not there.
        ModuleNotFoundError: If the package transformers is missing.
    """

    columns: Tensor

    def __init__(
        self,
        classes: int,
        vocabulary: int,
        length: int,
        class_names: Sequence[str] | None = None,
        path: str | None = None,
        architecture: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if vocabulary < 2 or min(classes, length) < 1:
            raise ValueError(
                f"sizes must be positive and vocabulary at least 2 (token 0 is padding), got {vocabulary=}, {classes=},"
                f" {length=}"
            )
        if (path is not None and architecture is not None) or (settings and architecture is None):
            raise ValueError(
                f"write path, the folder of a trained network, or architecture, with settings if you like; got {path=},"
                f" {architecture=}, {settings=}"
            )
        columns: list[int] | None = None
        if path is None:
            config = _new(architecture, settings or {}, vocabulary, classes)
        else:
            config = _package().AutoConfig.from_pretrained(resolved(path), local_files_only=True)
            columns = _columns(path, config, classes, class_names)
            config.num_labels = classes
        _check_sizes(config, path or config.model_type, vocabulary, length)
        self.vocabulary = int(config.vocab_size)
        self.network = _network(config, path)
        self.register_buffer("columns", torch.arange(classes) if columns is None else torch.tensor(columns))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (batch, classes) of token numbers (batch, length).

        Raises:
            ValueError: If the inputs have another number of dimensions, are no whole numbers, or none of the
                vocabulary's.
        """
        tokens = as_tokens(inputs, self.vocabulary)
        logits: Tensor = self.network(input_ids=tokens, attention_mask=(tokens != PADDING).long()).logits
        return logits.index_select(1, self.columns)


def _package() -> Any:  # noqa: ANN401  a module
    try:
        return import_module("transformers")
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        raise ModuleNotFoundError(
            "HuggingFaceText needs the package transformers: pip install 'kdlab[hugging-face]'"
        ) from error


def _new(architecture: str | None, settings: Mapping[str, Any], vocabulary: int, classes: int) -> Any:  # noqa: ANN401
    """The configuration of an untrained network, whose token 0 is padding as in the data."""
    configurations = _package().AutoConfig
    kinds = list(import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING_NAMES)
    name, settings = ("bert", TINY) if architecture is None else (architecture, settings)
    if name not in kinds:
        near = get_close_matches(name, kinds, 3) or ["bert", "distilbert", "roberta"]
        raise ValueError(f"transformers has no architecture {name!r}; it has such as {', '.join(near)}")
    own = configurations.for_model(name)
    unknown = [setting for setting in settings if not hasattr(own, setting)]
    if unknown:
        near = get_close_matches(unknown[0], own.to_dict(), 3)
        raise ValueError(f"{name} has no setting {unknown[0]!r}{f'; it has {near}' if near else ''}")
    sizes = {"vocab_size": vocabulary, "num_labels": classes, "pad_token_id": PADDING}
    return configurations.for_model(name, **{**settings, **sizes})


def _network(config: Any, path: str | None) -> nn.Module:  # noqa: ANN401  a configuration
    classifiers = _package().AutoModelForSequenceClassification
    if type(config) not in _package().MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ValueError(f"transformers has no network of the kind {config.model_type} that classifies texts")
    network: nn.Module
    if path is None:
        network = classifiers.from_config(config)
        return network
    with _quiet():
        network = classifiers.from_pretrained(
            resolved(path), config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32
        )
    return network.train()  # as any that is built


def _columns(folder: str, config: Any, classes: int, class_names: Sequence[str] | None) -> list[int] | None:  # noqa: ANN401
    """Which logit is each of the data's classes; None where a trained network names none, or is to be given others."""
    names = [str(config.id2label[number]) for number in sorted(config.id2label)]
    class_order = list(map(str, class_names or range(classes)))
    if all(name.startswith(UNNAMED) for name in names):
        return None
    if sorted(names) != sorted(class_order):
        raise ValueError(f"{folder} knows the classes {names[:20]}, and the data {class_order[:20]}")
    return [names.index(name) for name in class_order]


def _check_sizes(config: Any, called: str, vocabulary: int, length: int) -> None:  # noqa: ANN401  a configuration
    tokens, places = int(config.vocab_size), getattr(config, "max_position_embeddings", None)
    if tokens < vocabulary:
        raise ValueError(f"{called} knows {tokens} tokens, and the data have {vocabulary}; take its own tokenizer")
    if places is not None and places < length:
        raise ValueError(f"{called} has {places} places, and the data's texts {length} tokens; lower length")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bar, which no log needs."""
    logging = import_module("transformers.utils").logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
