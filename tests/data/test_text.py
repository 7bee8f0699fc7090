"""Texts as people have them: what each trap becomes, and the one line that refuses the rest."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from kdlab.__main__ import main
from kdlab.callbacks.standard import standard_measures
from kdlab.configuration.experiment import read
from kdlab.data.contents import contents, in_one_line
from kdlab.data.text import Text
from kdlab.data.tokens import BytePairEncoding, Tokenization, TokenizerFile, WordLevel, encoded
from kdlab.explainers.captum_adapter import Captum
from kdlab.metrics.infidelity import Infidelity
from kdlab.metrics.sensitivity import MaxSensitivity
from kdlab.signals.vocabulary import Asked
from tests.data.made_up import texts_and_labels, write_csv

pytest.importorskip("tokenizers", reason="comes with kdlab[text]")

ROWS = texts_and_labels()
WORDS = WordLevel(min_count=1)


def written(folder: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = ("text", "label")) -> Path:
    return write_csv(folder / "texts.csv", [header, *rows])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, ROWS)


def texts(path: Path | str, **arguments: Any) -> Text:
    data = Text(str(path), **{"text": "text", "target": "label", "length": 16} | arguments)
    data.setup()
    return data


def words_of(data: Text, split: str = "train") -> list[str]:
    return [" ".join(row) for row in data.read_back(data.splits[split]["inputs"])]


def refusal(path: Path, **arguments: Any) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        texts(path, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("tokenizer", [WORDS, BytePairEncoding(300), None])
def test_inputs_are_token_numbers_that_are_read_back(file: Path, tokenizer: Tokenization | None) -> None:
    data = texts(file, tokenizer=tokenizer, length=40)
    inputs = data.splits["train"]["inputs"]
    assert inputs.dtype == torch.int64
    assert data.shape == data.baseline.shape == (40,)
    assert data.baseline.tolist() == [0] * 40
    assert (data.vocabulary, data.tokens[:2]) == (len(data.tokens), ["[PAD]", "[UNK]"])
    assert int(inputs.max()) < len(data.tokens)
    # Padding stands after the last token alone.
    assert torch.equal((inputs != 0).int().cummin(1).values, (inputs != 0).int())
    plain = {"".join(text.split()) for text, _ in ROWS}
    read_back = {"".join(row).replace("▁", "").replace(" ", "") for row in words_of(data)}
    assert len(plain & read_back) == len(read_back)


def test_sizes_are_handed_to_models_by_name(file: Path) -> None:
    data = texts(file)
    handed = data.description.handed()
    assert (handed["vocabulary"], handed["length"], handed["classes"]) == (data.vocabulary, 16, 2)
    line = in_one_line("texts", data, contents(data))
    assert line == f"texts: 36 / 12 / 12 samples of 16 tokens of {data.vocabulary}, 2 classes (50.0 % each)"


def test_the_vocabulary_is_of_training_rows_alone(tmp_path: Path) -> None:
    parts = ["train", "val", "test"]
    rows = [[f"word{parts[row % 3]} common", "ab"[row % 2], parts[row % 3]] for row in range(30)]
    data = texts(written(tmp_path, rows, ["text", "label", "part"]), split="part", tokenizer=WORDS)
    assert data.tokens == ["[PAD]", "[UNK]", "common", "wordtrain"]
    assert set(words_of(data, "test")) == {"[UNK] common"}


def test_rare_words_and_many_words_are_unknown(file: Path) -> None:
    common = texts(file, tokenizer=WordLevel(min_count=2))
    assert not {token for token in common.tokens if token.isdigit()}
    assert any("[UNK]" in words for words in words_of(common))
    assert len(texts(file, tokenizer=WordLevel(size=5)).tokens) == 5
    assert "Dog" not in common.tokens
    capitals = written(file.parent, [[text.replace("dog", "Dog"), label] for text, label in ROWS])
    assert "Dog" in texts(capitals, tokenizer=WordLevel(lowercase=False)).tokens


def test_formats_and_files_for_the_splits_give_the_same(file: Path, tmp_path: Path) -> None:
    records = [{"text": text, "label": label} for text, label in ROWS]
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
        pq.write_table(pa.Table.from_pylist(records), tmp_path / f"{name}.parquet")
    csvs = texts(file, val_path=str(file), test_path=str(file))
    for ending in ("jsonl", "parquet"):
        paths = [str(tmp_path / f"{name}.{ending}") for name in ("train", "val", "test")]
        data = texts(paths[0], val_path=paths[1], test_path=paths[2])
        assert [len(data.splits[split]["target"]) for split in data.splits] == [60, 60, 60]
        assert data.content_hash() == csvs.content_hash()
    drawn = texts(file, test_path=str(file))
    assert [len(drawn.splits[split]["target"]) for split in drawn.splits] == [45, 15, 60]


def test_groups_stay_whole_and_rows_keep_their_names(tmp_path: Path) -> None:
    rows = [[*row, f"author {number // 4}", f"n{number}"] for number, row in enumerate(ROWS)]
    data = texts(written(tmp_path, rows, ["text", "label", "who", "id"]), group="who", row_id="id")
    groups = [set(tensors["groups"].tolist()) for tensors in data.splits.values()]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert data.description.sample_names is not None
    assert sorted(data.description.sample_names) == sorted(f"n{number}" for number in range(60))


def test_long_texts_are_cut_and_counted_once(tmp_path: Path) -> None:
    rows = [*ROWS, ["cat " * 25_000, "animal"], ["x" * 100_000, "money"]]
    data = texts(written(tmp_path, rows), length=16, tokenizer=WORDS)
    assert data.remarks == [
        "1 of 62 texts have more than 16 tokens and are cut there, the longest of 99,999 characters; length says where"
    ]
    assert texts(written(tmp_path, ROWS)).remarks == []


def test_texts_that_test_and_training_share_are_counted(file: Path) -> None:
    test = write_csv(file.with_name("test.csv"), [["text", "label"], *ROWS[:2], ["the cat is new", "animal"]])
    data = texts(file, val_path=str(file), test_path=str(test))
    assert data.remarks == ["2 of 3 test texts stand among the training rows, too"]


def test_emoji_other_scripts_and_encodings_are_read(tmp_path: Path) -> None:
    rows = [[f"grün 😀👍🏽 日本 {text}", label] for text, label in ROWS]
    data = texts(written(tmp_path, rows), tokenizer=WORDS)
    assert all(words.startswith("grün 😀👍🏽 日 本") for words in words_of(data))
    path = written(tmp_path, [[f"grün {text}", label] for text, label in ROWS])
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252"))
    data = texts(path, tokenizer=WORDS)
    assert data.remarks == [f"{path} is no UTF-8 and read as cp1252; encoding says otherwise"]
    assert words_of(data)[0].startswith("grün ")
    assert "line 2: bytes that are no text in utf-8" in refusal(path, encoding="utf-8")


def test_words_for_nothing_are_texts_unless_they_are_said_to_be_missing(tmp_path: Path) -> None:
    path = written(tmp_path, [*ROWS, ["NA", "money"], ["?", "money"]])
    assert len(torch.cat([tensors["target"] for tensors in texts(path).splits.values()])) == 62
    assert "column 'text' has 1 missing values, the first in" in refusal(path, missing=["na"])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["", "money"], "column 'text' has 1 missing values, the first in {path}, line 62"),
        ([" \t ", "money"], "column 'text' has 1 missing values, the first in {path}, line 62"),
        (["a text", ""], "column 'label' has 1 missing values, the first in {path}, line 62"),
        (["\u200b", "money"], "{path}, line 62: column 'text' says '\\u200b', in which there is no token"),
    ],
)
def test_what_says_nothing_is_refused_with_line_and_column(tmp_path: Path, extra: list[str], message: str) -> None:
    path = written(tmp_path, [*ROWS, extra])
    assert message.format(path=path) in refusal(path)


def test_columns_and_classes_that_cannot_be_are_refused(file: Path) -> None:
    assert f"{file} has no column 'body' (text); it has ['text', 'label']" in refusal(file, text="body")
    assert f"{file} has no column 'kind' (target)" in refusal(file, target="kind")
    assert "text and target are both column 'label'" in refusal(file, text="label")
    path = written(file.parent, [[text, "same"] for text, _ in ROWS])
    assert refusal(path) == f"{path}: target 'label' says 'same' in all 60 rows; it takes two classes the least"
    test = file.with_name("test.csv")
    test.write_text("text,label\nthe cat,animal\nmy card,mony\n")
    written(file.parent, ROWS)
    assert refusal(file, test_path=str(test)).startswith(
        f"{test}, line 3: column 'label' says 'mony', which no training row does (1 such classes)"
    )
    assert "column 'label' says 'mony'" in refusal(file, test_path=str(test), limit=3)


def test_a_limit_keeps_what_the_classes_are(file: Path) -> None:
    data = texts(file, limit=3)
    assert [len(tensors["target"]) for tensors in data.splits.values()] == [2, 1, 1]
    assert data.class_names == ["animal", "money"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length must be at least 1"),
        ({"limit": 2}, "limit at least 3"),
        ({"val_path": "v.csv"}, "needs test_path beside it"),
        ({"split": "part", "test_path": "t.csv"}, "both say what the test rows are"),
        ({"fractions": (0.5, 0.2, 0.2)}, "add up to 1"),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Text("t.csv", "text", "label", **arguments)


def test_sizes_of_vocabularies_are_checked() -> None:
    for make in (WordLevel, BytePairEncoding):
        with pytest.raises(ValueError, match="size must be at least 3"):
            make(size=2)
    with pytest.raises(ValueError, match="min_count must be at least 1"):
        WordLevel(min_count=0)


def test_a_tokenizer_file_is_read_and_is_part_of_the_content(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer = WORDS.tokenizer(["my cat and my card"])
    tokenizer.enable_padding(length=99)
    tokenizer.save(str(path))
    data = texts(file, tokenizer=TokenizerFile(str(path)))
    assert data.tokens == ["[PAD]", "[UNK]", "my", "and", "card", "cat"]
    before = data.content_hash()
    # Another text of a token alone: all tensors stay as they were.
    path.write_text(path.read_text().replace('"and"', '"und"'))
    assert texts(file, tokenizer=TokenizerFile(str(path))).content_hash() != before
    path.write_text("{}")
    assert f"{path} is no tokenizer.json" in refusal(file, tokenizer=TokenizerFile(str(path)))
    path.write_text(
        json.dumps(json.loads(WORDS.tokenizer(["a"]).to_str()) | {"added_tokens": []}).replace("[PAD]", "<s>")
    )
    assert "token 0 is '<s>', and texts are padded with 0" in refusal(file, tokenizer=TokenizerFile(str(path)))


def test_what_a_tokenizer_puts_around_a_text_is_never_cut() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = WORDS.tokenizer(["[CLS] [SEP] a b c d"])
    around = [(name, tokenizer.token_to_id(name) or 1) for name in ("a", "b")]
    tokenizer.post_processor = TemplateProcessing(single="a $A b", special_tokens=around)
    found = encoded(tokenizer, ["c", "c d c d"], length=4)
    first, last = (number for _, number in around)
    assert found.inputs[:, 0].tolist() == [first, first]
    assert (int(found.inputs[0, 2]), int(found.inputs[1, 3]), found.cut) == (last, last, [1])
    with pytest.raises(ValueError, match="length 2 has no room"):
        encoded(tokenizer, ["c"], length=2)


@pytest.mark.parametrize("tokenizer", [WORDS, BytePairEncoding(200)])
def test_a_vocabulary_is_the_same_each_time(tokenizer: Tokenization) -> None:
    # Many counts are equal. The package's maps have another order each time, also within a process, as WordPiece shows.
    texts = [f"abc{row % 17} xyz{row % 13}q hello{row % 7} wörld{row % 5}" for row in range(60)]
    assert len({tokenizer.tokenizer(texts).to_str() for _ in range(8)}) == 1


def test_the_missing_package_is_named_in_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert main(["look", str(file)]) == 2
    assert capsys.readouterr().err.startswith(
        "kdlab: error: Text needs the package tokenizers: pip install 'kdlab[text]'"
    )


class Bag(nn.Module):
    """The mean of the tokens' embeddings, and a linear layer."""

    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, 8, padding_idx=0)
        self.head = nn.Linear(8, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.embedding(inputs).sum(1) / (inputs != 0).sum(1, keepdim=True))
        return logits


def test_a_network_of_embeddings_learns_from_them(file: Path) -> None:
    data = texts(file)
    torch.manual_seed(0)
    model = Bag(**{name: data.description.handed()[name] for name in ("vocabulary", "classes")})
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    train, test = data.splits["train"], data.splits["test"]
    for _ in range(40):
        optimizer.zero_grad()
        F.cross_entropy(model(train["inputs"]), train["target"]).backward()
        optimizer.step()
    assert (model(test["inputs"]).argmax(1) == test["target"]).all()


EXPERIMENT = """
trainer: {{max_epochs: 1}}
evaluate: {{explainer: {explainer}}}
stages:
  teacher: {{module: {{class_path: Supervised, init_args: {{model: {{class_path: {model}}}}}}}}}
"""
MODEL = """
from torch import Tensor, nn

class Bag(nn.Module):
    def __init__(self, vocabulary: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocabulary, classes, padding_idx=0)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.embedding(inputs)
"""
REMOVES = "{class_path: Captum, init_args: {method: captum.attr.FeatureAblation}}"


def rehearsed(file: Path, explainer: str = "null", model: str = "bag_for_text.Bag") -> int:
    (file.parent / "bag_for_text.py").write_text(MODEL)
    data = {"class_path": "Text", "init_args": {"path": str(file), "text": "text", "target": "label", "length": 8}}
    data["init_args"]["batch_size"] = 16
    path = file.parent / "experiment.yaml"
    path.write_text(yaml.safe_dump({"data": data}) + EXPERIMENT.format(explainer=explainer, model=model))
    return main(["rehearse", str(path)])


def test_who_removes_tokens_explains_them_and_who_needs_gradients_is_refused_before_training(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rehearsed(file, REMOVES) == 0
    capsys.readouterr()
    for explainer in ("InputGradient", "{class_path: Captum, init_args: {method: captum.attr.Saliency}}"):
        assert rehearsed(file, explainer) == 2
        error = capsys.readouterr().err
        assert error.startswith(
            "kdlab: error: stage 'teacher': inputs of torch.int64 have no gradient, as token numbers"
        )
        assert error.count("\n") == 1


def test_a_model_of_values_is_refused_with_what_a_model_of_tokens_is(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rehearsed(file, model="MLP") == 2
    error = capsys.readouterr().err
    assert "a sample is of shape (8,), which is 8 token numbers (torch.int64), and its layer linear1, Linear" in error
    assert error.rstrip().endswith("take a model that begins with an embedding")


@pytest.mark.parametrize("metric", [Infidelity(), MaxSensitivity()])
def test_metrics_that_add_noise_refuse_token_numbers(metric: Infidelity | MaxSensitivity) -> None:
    inputs = torch.ones(2, 6, dtype=torch.int64)
    given = {"model": Bag(4, 2), "inputs": inputs, "attributions": torch.rand(2, 6), "explained": torch.zeros(2).long()}
    given |= {"baseline": inputs[0] * 0, "attribute": lambda inputs, target: inputs * 1.0, "multiplies_by_inputs": True}
    with pytest.raises(TypeError, match=r"torch\.int64, such as token numbers, cannot be moved by noise"):
        Asked(metric.update)(given)


def test_standard_measures_of_tokens_add_no_noise() -> None:
    with_noise = {"explanation/infidelity_logits", "explanation/max_sensitivity"}
    every = standard_measures(2, teacher=True, explains=True, explainer=True)
    assert every.keys() - standard_measures(2, True, True, True, tokens=True).keys() == with_noise


def test_removing_a_token_is_worth_its_embedding(file: Path) -> None:
    model = nn.EmbeddingBag(9, 2, mode="sum", padding_idx=0)
    inputs = torch.tensor([[3, 5, 0, 0]])
    found = Captum(model, "captum.attr.FeatureAblation").attribute(inputs, torch.tensor([1]))
    expected = torch.stack([*model.weight[[3, 5], 1], torch.tensor(0.0), torch.tensor(0.0)])
    torch.testing.assert_close(found[0], expected, check_dtype=False)


STAGE = """
trainer: {max_epochs: 1}
evaluate: {metrics: {}}
stages:
  teacher: {module: {class_path: Supervised, init_args: {model: {class_path: MLP, init_args: {inputs: 4, classes: 2}}}}}
"""


def looked(path: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, Text]:
    """What ``kdlab look`` prints, and the data of an experiment that holds it unchanged."""
    assert main(["look", path]) == 0
    text = capsys.readouterr().out
    (folder / "experiment.yaml").write_text(text + STAGE)
    data = read(folder / "experiment.yaml").build_data()
    data.setup("fit")
    assert isinstance(data, Text)
    return text, data


def test_look_finds_the_text_and_a_length_that_suits_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[f"n{row}", text, ["mail", "web"][row // 3 % 2], label] for row, (text, label) in enumerate(ROWS)]
    file = written(tmp_path, rows, ["id", "body", "where", "label"])
    text, data = looked(str(file), tmp_path, capsys)
    assert yaml.safe_load(text)["data"] == {
        "class_path": "Text",
        "init_args": {"path": str(file), "text": "body", "target": "label", "length": 16},
    }
    assert "# column 'body' is free text of 7 words a row; not read beside it: id, where" in text.splitlines()
    assert (
        f"# texts: 36 / 12 / 12 samples of 16 tokens of {data.vocabulary}, 2 classes (50.0 % each)" in text.splitlines()
    )


def test_look_finds_the_files_of_all_splits_and_texts_that_are_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "chats"
    for name, part in (("train", ROWS), ("valid", ROWS[:4]), ("test", [*ROWS[:4], ["42", "money"]])):
        write_csv(folder / f"{name}.csv", [["text", "label"], *part])
    text, data = looked(str(folder), tmp_path, capsys)
    assert yaml.safe_load(text)["data"]["init_args"]["val_path"] == str(folder / "valid.csv")
    assert [len(tensors["target"]) for tensors in data.splits.values()] == [60, 4, 5]
    assert "# 4 of 5 test texts stand among the training rows, too" in text.splitlines()


def test_look_reads_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in ROWS))
    text, _ = looked(str(file), tmp_path, capsys)
    assert text.startswith("# texts.jsonl: 60 rows, 2 columns, utf-8\n")
