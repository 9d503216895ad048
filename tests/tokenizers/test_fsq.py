"""FSQ against the formula of its paper.

Letters: C vector width, T vectors.
"""

from __future__ import annotations

import math

import pytest
import torch

from arlab.tokenizers.quantizers.fsq import FSQ


def bound(levels: list[int]) -> FSQ:
    codebook = FSQ(levels=levels)
    codebook.bind(len(levels), (2, 3))
    return codebook


def digit(z: float, level: int) -> int:
    """The paper's: bound, shift, round; from 0. The interval is 0.1 % wider than L - 1."""
    half = (level - 1) * 1.001 / 2
    offset = 0.5 if level % 2 == 0 else 0.0
    return round(math.tanh(z + math.atanh(offset / half)) * half - offset) + level // 2


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [3, 4, 7], [5]])
def test_codes_and_indices_by_hand(levels: list[int]) -> None:
    codebook = bound(levels)
    z_TC = 2 * torch.randn(200, len(levels))
    coded = codebook.quantise(z_TC)
    for z, code, index in zip(z_TC.tolist(), coded.vectors.tolist(), coded.ids.tolist(), strict=True):
        digits = [digit(value, level) for value, level in zip(z, levels, strict=True)]
        assert code == pytest.approx([(d - L // 2) / (L // 2) for d, L in zip(digits, levels, strict=True)], abs=1e-6)
        assert index == sum(d * math.prod(levels[:c]) for c, d in enumerate(digits))


@pytest.mark.parametrize("levels", [[8, 5, 3], [4, 4, 4], [512, 512], [1000, 3]])
def test_every_index_has_its_own_code_and_is_reached(levels: list[int]) -> None:
    codebook = bound(levels)
    assert codebook.codebook_size == math.prod(levels)
    ids_T = torch.arange(codebook.codebook_size)
    code_TC = codebook.lookup(ids_T).double()
    half_C = torch.tensor(levels) // 2
    # The latent in the middle of each code's interval; the outermost are as far out as it goes.
    half_width_C = (torch.tensor(levels).double() - 1) * 1.001 / 2
    offset_C = torch.where(torch.tensor(levels) % 2 == 0, 0.5, 0.0)
    middle_TC = ((code_TC * half_C + offset_C) / half_width_C).clamp(-1 + 1e-9, 1 - 1e-9)
    z_TC = middle_TC.atanh() - (offset_C / half_width_C).atanh()
    assert torch.equal(codebook.quantise(z_TC).ids, ids_T)
    assert code_TC.abs().max() <= 1
    assert torch.equal(codebook.lookup(ids_T.view(1, -1, 1)), codebook.lookup(ids_T).view(1, -1, 1, len(levels)))


def test_zero_is_a_code_and_the_extremes_stay_inside() -> None:
    codebook = bound([8, 5, 1000])
    coded = codebook.quantise(torch.tensor([[0.0, 0.0, 0.0], [50.0, 50.0, 50.0], [-50.0, -50.0, -50.0]]))
    torch.testing.assert_close(coded.code, torch.tensor([[0, 0, 0], [0.75, 1, 0.998], [-1, -1, -1]]))
    assert coded.ids.tolist()[1:] == [8 * 5 * 1000 - 1, 0]


def test_the_gradient_passes_the_rounding_and_the_bound() -> None:
    codebook = bound([5, 3])
    z_TC = torch.randn(9, 2, requires_grad=True)
    (gradient_TC,) = torch.autograd.grad(codebook.quantise(z_TC).vectors.sum(), z_TC)
    half_width_C = torch.tensor([4, 2]) * 1.001 / 2
    torch.testing.assert_close(gradient_TC, (1 - z_TC.tanh().square()).detach() * half_width_C / torch.tensor([2, 1]))


def test_nothing_is_learned_lost_or_saved() -> None:
    codebook = bound([8, 5, 5, 5])
    assert not list(codebook.parameters())
    assert not codebook.state_dict()
    assert float(codebook(torch.randn(2, 4, 2, 3)).loss) == 0


def test_it_can_be_built_without_memory() -> None:
    with torch.device("meta"):
        assert bound([8, 5, 5, 5]).codebook_size == 1000
