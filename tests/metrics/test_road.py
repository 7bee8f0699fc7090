"""ROAD and its imputation."""

import pytest
import torch
from torch import Tensor

from kdlab.metrics.road import ROAD, impute
from tests.metrics.linear import FIRST, of

# Rong et al. 2022: direct neighbours weigh 1/6, diagonal ones 1/12.
NEIGHBOURS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))


def dense(image: Tensor, removed: Tensor) -> Tensor:
    """Solve the same system pixel by pixel: (height, width) both."""
    height, width = image.shape
    places = [(row, column) for row in range(height) for column in range(width) if removed[row, column]]
    matrix, right = torch.zeros(len(places), len(places)), torch.zeros(len(places))
    for number, (row, column) in enumerate(places):
        for down in (-1, 0, 1):
            for along in (-1, 0, 1):
                weight, place = NEIGHBOURS[down + 1][along + 1], (row + down, column + along)
                if not (0 <= place[0] < height and 0 <= place[1] < width):
                    continue
                matrix[number, number] += weight
                if removed[place]:
                    matrix[number, places.index(place)] -= weight
                else:
                    right[number] += weight * image[place]
    filled = image.clone()
    filled[removed] = torch.linalg.solve(matrix, right)
    return filled


def test_one_removed_pixel_is_the_weighted_mean_of_its_neighbours() -> None:
    image = torch.tensor([[0.0, 6.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 12.0]])
    removed = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    removed[..., 1, 1] = True
    # 6/6 from above, 12/12 from the lower right.
    torch.testing.assert_close(impute(image.view(1, 1, 3, 3), removed)[0, 0, 1, 1], torch.tensor(2.0))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputation_equals_the_dense_solution(share: float) -> None:
    images, removed = torch.randn(5, 2, 9, 8), torch.rand(5, 1, 9, 8) < share
    filled = impute(images, removed)
    for sample in range(5):
        for channel in range(2):
            expected = dense(images[sample, channel], removed[sample, 0])
            torch.testing.assert_close(filled[sample, channel], expected, atol=1e-3, rtol=1e-3)


def test_nothing_removed_changes_nothing_and_all_removed_says_nothing() -> None:
    images = torch.randn(2, 1, 4, 4)
    removed = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    removed[1] = True
    filled = impute(images, removed)
    assert torch.equal(filled[0], images[0])
    assert filled[1].isnan().all()


def test_value_by_hand() -> None:
    # Only the bright pixel counts; imputed from a dark image it is 0: the logit falls from 3 to 0 at every share.
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 2] = 3.0
    metric = ROAD(shares=(0.04, 0.2), noise=0.0, on_logits=True)
    metric.update(of(lambda rows: rows.sum(dim=1)), image, image, FIRST)
    torch.testing.assert_close(metric.compute(), torch.tensor(3.0))


def test_a_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ROAD needs images .* got \(1, 3\)"):
        ROAD().update(of(lambda rows: rows.sum(dim=1)), torch.ones(1, 3), torch.ones(1, 3), FIRST)


@pytest.mark.parametrize("arguments", [{"shares": ()}, {"shares": (1.0,)}, {"noise": -1.0}])
def test_bad_arguments_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        ROAD(**arguments)  # type: ignore[arg-type]  # one of several types
