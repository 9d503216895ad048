"""VAR's φ: which level takes which convolution, and what it does."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from arlab.tokenizers.quantizers.phi import PhiConvolutions, taken


def bound(width: int = 3, axes: int = 2, levels: int = 10, **options: float) -> PhiConvolutions:
    phi = PhiConvolutions(**options)  # type: ignore[arg-type]
    phi.bind(width, axes, levels)
    return phi


@pytest.mark.parametrize(
    ("num", "levels", "chosen"),
    [
        (4, 10, [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]),  # VAR at 256 px; levels 2 and 7 are ties but for rounding
        (4, 4, [0, 1, 2, 3]),
        (1, 5, [0] * 5),
        (2, 4, [0, 0, 1, 1]),
        (2, 5, [0, 0, 0, 1, 1]),  # a tie: the first
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (4, 1, [0]),
    ],
)
def test_neighbouring_levels_share(num: int, levels: int, chosen: list[int]) -> None:
    assert taken(num, levels) == chosen


def test_four_convolutions_lie_further_out() -> None:
    """At 1/12, 13/36, 23/36, 11/12, not at 1/8, 3/8, 5/8, 7/8: three tenths and a half go elsewhere."""
    assert taken(4, 101)[22:23] == [0]
    assert abs(0.22 - 1 / 12) < abs(0.22 - 13 / 36)
    assert taken(4, 101)[23:25] == [1, 1]
    assert abs(0.24 - 1 / 8) < abs(0.24 - 3 / 8)


def test_only_convolutions_that_are_taken_are_made() -> None:
    phi = bound(levels=3)  # of four, the middle level takes one of the two in the middle
    assert len(phi.convolutions) == 3
    assert phi.convolution_of == [0, 1, 2]
    assert len(bound(levels=10).convolutions) == 4
    assert len(bound(levels=7, num=0).convolutions) == 7
    assert all(parameter.grad is None for parameter in phi.parameters())
    sum(phi(torch.randn(1, 3, 4, 4), level).sum() for level in range(3)).backward()
    assert all(parameter.grad is not None for parameter in phi.parameters())


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_it_mixes_the_map_with_its_convolution(axes: int) -> None:
    phi = bound(axes=axes, levels=2, ratio=0.3, num=0)
    whole = torch.randn(2, 3, *(5, 4, 6)[:axes])
    convolution = phi.convolutions[1]
    convolve = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    expected = 0.7 * whole + 0.3 * convolve(whole, convolution.weight, convolution.bias, padding=1)  # type: ignore[arg-type]
    torch.testing.assert_close(phi(whole, 1), expected)
    assert not torch.allclose(phi(whole, 0), expected)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ratio": 0.0}, "ratio: must be positive and at most 1, got 0.0"),
        ({"ratio": float("nan")}, "ratio: must be positive"),
        ({"num": -1}, "num: must be from 0 to 1000, got -1"),
        ({"num": 10**12}, "num: must be from 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=rf"^quantizer\.refinement\.{told}"):
        PhiConvolutions(**options)  # type: ignore[arg-type]
