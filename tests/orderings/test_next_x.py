from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.conformance.toy import toy_generator
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.objective import TeacherForcing
from arlab.generators.sampler import Sampler
from arlab.heads.flow import FlowHead
from arlab.heads.time_grids import EvenTimes
from arlab.orderings.entities import Cells, EachScale, Entities, Subsamples
from arlab.orderings.next_block import NextBlock
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Prefix
from arlab.orderings.step import Kind, Layout, Slots
from arlab.rng import BatchRng, SampleRng

GRID = Layout(((4, 6),))
LOOKS = 3


def flow(ordering: NextX | NextBlock, layout: Layout = GRID, num_slots: int = 1) -> Generator:
    head = FlowHead(times=EvenTimes(num_steps=LOOKS))
    return toy_generator(ordering, layout, head=head, num_slots=num_slots)


def sees(ordering: NextX | NextBlock, fed: Slots) -> Tensor:
    return ordering.see(fed, fed)


@pytest.mark.parametrize("condition", [0, 1, 3])
def test_in_training_a_cell_sees_noised_ones_up_to_itself(condition: int) -> None:
    ordering = NextX()
    step = ordering.training(GRID, Prefix(condition), SampleRng([0]))
    kinds = [Kind.COND] * condition + [Kind.NOISY] * GRID.num_tokens
    assert step.feed.kind.tolist() == kinds
    cell = torch.tensor([-1] * condition + [0] * 6 + [1] * 6 + [2] * 6 + [3] * 6)
    assert torch.equal(sees(ordering, step.feed), cell <= cell[:, None])


def test_in_decoding_the_cells_before_are_clean_and_stay() -> None:
    steps = list(NextX().steps(GRID, Prefix(1), SampleRng([0])))
    first, *later = steps
    assert first.feed.kind.tolist() == [Kind.COND] + [Kind.NOISY] * 6
    for before, step in zip(steps, later, strict=False):
        clean, noised = step.feed.select(step.feed.keep), step.feed.select(~step.feed.keep)
        assert set(clean.kind.tolist()) == {Kind.TOKEN}
        assert set(noised.kind.tolist()) == {Kind.NOISY}
        assert torch.equal(clean.source, before.read.token)
        assert torch.equal(noised.source, step.read.token)
        # What stays must not know what was noised.
        assert not sees(NextX(), step.feed)[:6, 6:].any()


def test_likelihood_is_asked_of_clean_cells() -> None:
    scored = NextX().scored(GRID, Prefix(1), SampleRng([0]))
    clean = NextBlock().training(GRID, Prefix(1), SampleRng([0]))
    assert scored.exact
    assert torch.equal(scored.step.feed.kind, clean.feed.kind)
    assert torch.equal(scored.step.feed.source, clean.feed.source)
    generator = flow(NextX())
    tokens = torch.randn(2, GRID.num_tokens, 3)
    label = torch.tensor([0, 1])
    assert generator.log_prob(tokens, label) is None
    bound = generator.bound(tokens, label, BatchRng(0, 2))
    assert bound is not None
    assert bound.shape == (2,)


@pytest.mark.parametrize("entities", [Cells(), Subsamples(), EachScale()], ids=lambda e: type(e).__name__)
def test_each_entity_is_noised_to_a_time_of_its_own(entities: Entities) -> None:
    ordering = NextX(entities=entities)
    layout = ordering.layout_of((4, 6))
    generator = flow(ordering, layout)
    times: list[Tensor] = []
    embed = generator.head.embed_time
    generator.head.embed_time = lambda time: times.append(time) or embed(time)  # type: ignore[method-assign]
    tokens, label = torch.randn(2, layout.num_tokens, 3), torch.tensor([0, 1])
    TeacherForcing().loss(generator, tokens, label, BatchRng(0, 2), layout)
    (time_BS,) = times
    assert time_BS[:, 0].tolist() == [0, 0]
    entity = [float(time_BS[0, 1 + i]) for i in range(layout.num_tokens)]
    sizes = [len(token) for token in ordering.split(layout)]
    assert [len(set(part.tolist())) for part in torch.tensor(entity).split(sizes)] == [1] * len(sizes)
    assert len(set(entity)) == len(sizes)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("ordering", [NextX(), NextBlock()], ids=lambda o: type(o).__name__)
def test_what_is_known_is_fed_once(ordering: NextX | NextBlock, guided: bool) -> None:
    generator = flow(ordering)
    fed: list[tuple[int, int]] = []
    hook = generator.backbone.register_forward_pre_hook(lambda module, args: fed.append(tuple(args[0].shape[:2])))
    guidance = ConstantGuidance(guidance_scale=2.0 if guided else 1.0)
    Sampler(guidance=guidance).sample(generator, torch.tensor([0, 1]), seeds=[0, 1])
    hook.remove()
    batch = 4 if guided else 2
    first = [(batch, 1 + 6), *[(batch, 6)] * (LOOKS - 1)]
    later = [(batch, 6 + 6), *[(batch, 6)] * (LOOKS - 1)]
    assert fed == first + 3 * later


@pytest.mark.parametrize("ordering", [NextX(), NextBlock(entities=Subsamples())], ids=lambda o: type(o).__name__)
def test_the_cache_changes_no_sample(ordering: NextX | NextBlock) -> None:
    generator = flow(ordering, num_slots=0)
    labels = torch.tensor([0, 1])
    cached, whole = (
        Sampler(use_cache=use_cache).sample(generator, labels, seeds=[3, 4]).tokens for use_cache in (True, False)
    )
    assert cached.abs().max() > 0.1
    torch.testing.assert_close(cached, whole, atol=1e-4, rtol=1e-4)


def test_scales_come_of_tokens_of_one_level() -> None:
    ordering = NextX(entities=EachScale())
    pyramid = ordering.latent_pyramid(Layout(((4, 6),)))
    assert pyramid is not None
    assert not pyramid.residual
    assert NextX().latent_pyramid(Layout(((4, 6),))) is None
    steps = list(ordering.steps(pyramid.layout((4, 6)), Prefix(1), SampleRng([0])))
    assert [len(step.read) for step in steps] == [1, 2 * 3, 4 * 6]
    # A tokenizer of one level is enough.
    generator = flow(ordering, Layout(((4, 6),)))
    assert generator.layout.shapes == ((1, 1), (2, 3), (4, 6))
    samples = Sampler().sample(generator, torch.tensor([0, 1]), seeds=[0, 1])
    assert samples.tokens.shape == (2, 1 + 6 + 24, 3)
    assert samples.images.shape == (2, 1, 4, 4)


def test_shapes_of_other_axes_are_refused() -> None:
    ordering = NextX(entities=Cells(shape=[2, 2]))
    ordering.refuse(Layout(((3, 5),)), None)
    with pytest.raises(ValueError, match=r"ordering\.entities\.shape"):
        ordering.refuse(Layout(((6,),)), None)
