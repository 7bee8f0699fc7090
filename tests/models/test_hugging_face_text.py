"""Networks of Hugging Face: padding does not count, trained ones answer in the data's order, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kdlab.models.hugging_face_text import HuggingFaceText

transformers = pytest.importorskip("transformers", reason="the extra hugging-face is not installed")
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TEXTS = torch.tensor([[3, 4, 5, 0, 0, 0], [7, 0, 0, 0, 0, 0]])


def bert(**arguments: Any) -> HuggingFaceText:
    torch.manual_seed(0)
    given = {"architecture": "bert", "settings": SMALL} if not {"path", "architecture"} & arguments.keys() else {}
    return HuggingFaceText(**{"classes": 3, "vocabulary": 9, "length": 6, **given, **arguments}).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that somebody trained, whose classes have names."""
    network = bert().network
    network.config.id2label = {0: "cat", 1: "dog", 2: "emu"}
    folder = tmp_path_factory.mktemp("saved")
    network.save_pretrained(folder)
    return folder


def test_padding_changes_nothing() -> None:
    network = bert()
    torch.testing.assert_close(network(TEXTS)[1:], network(TEXTS[1:, :1]))
    torch.testing.assert_close(network(TEXTS), network(TEXTS.float()))


def test_without_a_name_it_is_bert_tiny() -> None:
    # Turc et al. 2019, table 1: 4.4 million with 30,522 tokens; by hand, below the head:
    tokens, width, inner, places = 30_522, 128, 512, 512
    embeddings = (tokens + places + 2) * width + 2 * width
    layer = 4 * (width * width + width) + width * inner + inner + inner * width + width + 4 * width
    pooler = width * width + width
    network = HuggingFaceText(classes=3, vocabulary=tokens, length=128)
    counted = sum(weight.numel() for name, weight in network.named_parameters() if "classifier" not in name)
    assert counted == embeddings + 2 * layer + pooler == 4_385_920


@pytest.mark.parametrize("names", [["cat", "dog", "emu"], ["emu", "cat", "dog"]])
def test_a_trained_network_answers_in_the_order_of_the_data_s_classes(saved: Path, names: list[str]) -> None:
    whole, network = bert()(TEXTS), bert(path=str(saved), class_names=names)
    torch.testing.assert_close(network(TEXTS), whole[:, [["cat", "dog", "emu"].index(name) for name in names]])
    again = bert(path=str(saved), class_names=["cat", "dog", "emu"])
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(TEXTS), network(TEXTS))  # the order lies in the weights


def test_a_network_that_names_no_classes_is_given_the_data_s(tmp_path: Path) -> None:
    bert().network.save_pretrained(tmp_path)
    torch.testing.assert_close(bert(path=str(tmp_path), class_names=["a", "b", "c"])(TEXTS), bert()(TEXTS))
    bert(classes=2).network.base_model.save_pretrained(tmp_path)  # without a last layer
    assert bert(path=str(tmp_path), classes=5, class_names=list("abcde"))(TEXTS).shape == (2, 5)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "two": ({"path": "x", "architecture": "bert"}, "write path, the folder of a trained network, or architecture"),
    "settings of what": ({"path": "x", "settings": SMALL}, "write path"),
    "an unknown kind": ({"architecture": "brt"}, "has no architecture 'brt'; it has such as .*bert"),
    "no texts": ({"architecture": "vit"}, "no network of the kind vit that classifies texts"),
    "an unknown setting": (
        {"architecture": "bert", "settings": {"hiden_size": 3}},
        "bert has no setting 'hiden_size'; it has .*hidden_size",
    ),
    "long texts": ({"length": 513}, "bert has 512 places, and the data's texts 513 tokens; lower length"),
    "nothing": ({"classes": 0}, "sizes must be positive"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(name: str) -> None:
    arguments, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as refused:
        bert(**arguments)
    assert "\n" not in str(refused.value)


def test_a_trained_network_of_other_data_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"knows the classes \['cat', 'dog', 'emu'\], and the data \['a', 'b', 'c'\]"):
        bert(path=str(saved), class_names=["a", "b", "c"])
    with pytest.raises(ValueError, match="knows 9 tokens, and the data have 10; take its own tokenizer"):
        bert(path=str(saved), class_names=["cat", "dog", "emu"], vocabulary=10)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        bert(path=str(tmp_path / "absent"))
