"""Next-scale, next-frequency and next-depth: what their slots carry, and which tokenizers they are for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from arlab.conformance.toy import ToyTokenizer
from arlab.generators.frozen import FrozenTokenizer
from arlab.orderings.level_inputs import Accumulated, Previous
from arlab.orderings.levels import Levels
from arlab.orderings.next_depth import NextDepth
from arlab.orderings.next_frequency import NextFrequency
from arlab.orderings.next_scale import NextScale
from arlab.orderings.ordering import Prefix, Visibility
from arlab.orderings.step import Kind, Layout
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.interpolation import Nearest
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.rng import SampleRng

LAYOUT = Layout(((1, 1), (1, 2), (2, 3)))
PAIRS = ((NextScale(), ScalePyramid()), (NextFrequency(), FrequencyPyramid()), (NextDepth(), DepthPyramid()))


def test_accumulated_is_the_area_of_the_canvas() -> None:
    tokenizer, tokens = ToyTokenizer(LAYOUT), torch.randn(2, 9, 3)
    source = torch.arange(1, 9)
    fed = NextScale().compute(tokens, source, LAYOUT, tokenizer)
    expected = [
        F.adaptive_avg_pool2d(tokenizer.canvas(tokens, level), LAYOUT.shapes[level]).flatten(2).transpose(1, 2)
        for level in (1, 2)
    ]
    assert torch.equal(fed, torch.cat(expected, dim=1))


def test_some_slots_carry_what_all_would() -> None:
    tokenizer, tokens = ToyTokenizer(LAYOUT), torch.randn(2, 9, 3)
    for level_input in (Accumulated(), Previous()):
        ordering = NextScale(level_input=level_input)
        whole = ordering.compute(tokens, torch.arange(1, 9), LAYOUT, tokenizer)
        for source in ([1, 2], [5], [2, 3, 8], [8, 3]):
            part = ordering.compute(tokens, torch.tensor(source), LAYOUT, tokenizer)
            assert torch.equal(part, whole[:, [token - 1 for token in source]])


def test_previous_is_the_level_before_alone() -> None:
    tokenizer, tokens = ToyTokenizer(LAYOUT), torch.randn(2, 9, 3)
    ordering = NextScale(level_input=Previous(interpolation=Nearest()))
    fed = ordering.compute(tokens, torch.arange(3, 9), LAYOUT, tokenizer)
    # Two cells side by side, each repeated over what it covers of 2 x 3.
    assert torch.equal(fed, tokens[:, [1, 1, 2, 1, 1, 2]])


def test_markov_keeps_nothing() -> None:
    for step in NextScale(markov=True).steps(LAYOUT, Prefix(2), SampleRng([0])):
        assert not step.feed.keep.any()
    assert NextScale(markov=True).modulated
    assert NextScale(markov=True).visibility(LAYOUT) is Visibility.BY_STEP


def test_the_last_condition_slot_stands_on_the_first_level() -> None:
    layout = Layout(((1, 2), (2, 4)))
    first = next(iter(NextScale().steps(layout, Prefix(3), SampleRng([0]))))
    assert first.feed.kind.tolist() == [Kind.COND] * 4
    assert first.feed.source.tolist() == [0, 1, 2, 2]
    assert first.feed.at.tolist() == [-1, -1, 0, 1]


@pytest.mark.parametrize(("ordering", "pyramid"), PAIRS, ids=lambda part: type(part).__name__)
def test_each_follows_its_own_pyramid(ordering: Levels, pyramid: Pyramid) -> None:
    ordering.refuse(LAYOUT, pyramid)
    for _, other in PAIRS:
        if type(other) is not type(pyramid):
            with pytest.raises(ValueError, match=f"levels of a {type(pyramid).__name__}, this tokenizer's are a"):
                ordering.refuse(LAYOUT, other)
    with pytest.raises(ValueError, match=f"PyramidQuantizer, pyramid: {type(pyramid).__name__}"):
        ordering.refuse(Layout(((4, 4),)), None)


def test_scales_of_its_own() -> None:
    chosen = NextScale(patch_nums=[1, [2, 2], 4]).choose_layout(Layout(((1, 1), (4, 4))))
    assert chosen.shapes == ((1, 1), (2, 2), (4, 4))
    with pytest.raises(ValueError, match=r"ordering\.patch_nums: the last level is \[3, 3\], but must be"):
        NextScale(patch_nums=[1, 3]).choose_layout(Layout(((1, 1), (4, 4))))
    with pytest.raises(ValueError, match=r"ordering\.patch_nums: every side must be at least 1"):
        NextScale(patch_nums=[0, 3])


def vectors(ordering: NextScale) -> FrozenTokenizer:
    """Vectors on 4 x 4, as this ordering wants them."""
    return FrozenTokenizer.ordered(ToyTokenizer(Layout(((4, 4),))), ordering)


@pytest.mark.parametrize("residual", [True, False])
def test_patch_nums_are_those_of_a_pyramid_without(residual: bool) -> None:
    pyramid = ScalePyramid(residual=residual)
    given = vectors(NextScale(patch_nums=[1, 3, 4], pyramid=pyramid))
    same = vectors(NextScale(pyramid=ScalePyramid(patch_nums=[1, 3, 4], residual=residual)))
    assert given.layout == same.layout == Layout(((1, 1), (3, 3), (4, 4)))
    latent = torch.randn(2, 16, 3)
    assert torch.equal(given.split(latent), same.split(latent))
    # What was given stays as it was.
    assert pyramid.patch_nums is None


@pytest.mark.parametrize("residual", [True, False])
def test_patch_nums_given_twice_have_to_be_the_same(residual: bool) -> None:
    pyramid = ScalePyramid(patch_nums=[1, 4], residual=residual)
    with pytest.raises(ValueError, match=r"patch_nums: \[1, 2, 4\] are other scales than \[1, 4\] of ordering.pyramid"):
        vectors(NextScale(patch_nums=[1, 2, 4], pyramid=pyramid))
    assert vectors(NextScale(patch_nums=[1, [4, 4]], pyramid=pyramid)).layout == Layout(((1, 1), (4, 4)))
