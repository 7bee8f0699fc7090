import pytest
import torch

from kdlab.models.bag_of_embeddings import BagOfEmbeddings
from kdlab.signals.capture import capture


def test_has_the_size_counted_by_hand() -> None:
    assert sum(weight.numel() for weight in BagOfEmbeddings(1000, 4).parameters()) == 1000 * 10 + 10 * 4 + 4


def test_value_by_hand() -> None:
    model = BagOfEmbeddings(3, 2, width=1)
    with torch.no_grad():
        model.embedding.weight.copy_(torch.tensor([[0.0], [1.0], [4.0]]))
        model.head.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        model.head.bias.copy_(torch.tensor([0.0, 1.0]))
    # The mean of 1, 4 and 1 is 2; padding would make it 6/4.
    torch.testing.assert_close(model(torch.tensor([[1, 2, 1, 0]])), torch.tensor([[2.0, -3.0]]))


def test_padding_is_not_counted_wherever_it_stands_and_whatever_its_vector() -> None:
    model = BagOfEmbeddings(10, 3)
    short = model(torch.tensor([[4, 7]]))
    with torch.no_grad():
        model.embedding.weight[0] = 5
    for padded in ([4, 7, 0, 0], [0, 0, 4, 7], [4, 0, 7, 0]):
        torch.testing.assert_close(model(torch.tensor([padded])), short)


def test_an_empty_text_has_the_logits_of_the_bias() -> None:
    model = BagOfEmbeddings(10, 3)
    logits = model(torch.zeros(2, 5))
    torch.testing.assert_close(logits, model.head.bias.expand(2, 3))
    logits.sum().backward()
    assert model.head.weight.grad is not None
    assert model.head.weight.grad.isfinite().all()


def test_the_padding_vector_is_not_trained() -> None:
    model = BagOfEmbeddings(10, 3)
    model(torch.tensor([[1, 0, 2]])).square().sum().backward()
    assert model.embedding.weight.grad is not None
    assert model.embedding.weight.grad.any(dim=1).nonzero().flatten().tolist() == [1, 2]
    assert not model.embedding.weight[0].any()


def test_integers_and_whole_floats_mean_the_same() -> None:
    model, tokens = BagOfEmbeddings(100, 3), torch.randint(0, 100, (4, 6))
    expected = model(tokens)
    for same in (tokens.int(), tokens.float(), tokens.double(), tokens.bfloat16()):
        assert torch.equal(model(same), expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.tensor([[1.0, 2.5]]), "must be whole, from 0 to 9 .vocabulary 10., got 2.5"),
        (torch.tensor([[1.0, torch.nan]]), "must be whole, from 0 to 9 .*got nan"),
        (torch.tensor([[1.0, torch.inf]]), "must be whole, from 0 to 9 .*got inf"),
        (torch.tensor([[1, 10, 12]]), "must be whole, from 0 to 9 .*got 10 and 1 more"),
        (torch.tensor([[-1.0, 1.0]]), "must be whole, from 0 to 9 .*got -1 "),
        (torch.tensor([1.0, 2.0]), r"of shape \(batch, length\), got \(2,\)"),
    ],
)
def test_refuses_what_is_no_token_in_one_line(inputs: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        BagOfEmbeddings(10, 3)(inputs)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 256), (torch.float16, 2048)])
def test_refuses_a_type_that_rounds_tokens(dtype: torch.dtype, most: int) -> None:
    inputs = torch.ones(1, 2, dtype=dtype)
    assert torch.arange(most + 1).to(dtype).long().equal(torch.arange(most + 1))
    assert torch.tensor(most + 1).to(dtype).long() != most + 1
    BagOfEmbeddings(most + 1, 3)(inputs)
    with pytest.raises(ValueError, match=f"hold whole numbers up to {most}, vocabulary is {most + 2}"):
        BagOfEmbeddings(most + 2, 3)(inputs)


def test_layers_have_the_names_of_the_docstring() -> None:
    model = BagOfEmbeddings(10, 3, width=4)
    with capture(model, ["embedding", "mean", "head"]) as captured:
        model(torch.ones(2, 6))
    assert [tuple(captured[name].shape) for name in ("embedding", "mean", "head")] == [(2, 6, 4), (2, 4), (2, 3)]


def test_can_be_exported() -> None:
    model, tokens = BagOfEmbeddings(10, 3).eval(), torch.randint(0, 10, (2, 6)).float()
    exported = torch.export.export(model, (tokens,)).module()
    torch.testing.assert_close(exported(tokens), model(tokens))


@pytest.mark.parametrize("arguments", [{"vocabulary": 1}, {"width": 0}, {"classes": 0}])
def test_refuses_wrong_sizes_in_one_line(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sizes must be positive and vocabulary at least 2") as raised:
        BagOfEmbeddings(**({"vocabulary": 10, "classes": 3} | arguments))
    assert "\n" not in str(raised.value)
