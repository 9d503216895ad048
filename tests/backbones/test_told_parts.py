"""Parts that tell a slot its target, its instruction or its step."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.instruction_places import InstructionPlaces
from arlab.backbones.modulation import AdaLN, NoModulation, SharedAdaLN
from arlab.backbones.places import LearnedPlaces, Places
from arlab.backbones.rotary import AxialRotary
from arlab.backbones.step_modulation import StepModulation
from arlab.backbones.target_places import TargetPlaces
from arlab.backbones.transformer import Transformer
from arlab.conformance.toy import ToyHead, ToyTokenizer
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.optimization import split_by_decay
from arlab.orderings.entities import SingleTokens
from arlab.orderings.next_block import NextBlock
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.ordering import Ordering, Prefix
from arlab.orderings.random_causal import RandomCausal
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.region_parallel import RegionParallel
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Kind, Layout, Slots, Step
from arlab.rng import BatchRng

GRID = Layout(((2, 3),))


def trained(ordering: Ordering, layout: Layout = GRID, condition: int = 1) -> Slots:
    return ordering.training(layout, Prefix(condition), BatchRng(0, 2), 0.0).feed


def generator(ordering: Ordering, *, layout: Layout = GRID, seed: int = 0, **parts: object) -> Generator:
    torch.manual_seed(seed)
    backbone = Transformer(width=24, num_layers=2, init_std=0.3, **parts)  # type: ignore[arg-type]
    return Generator(tokenizer=ToyTokenizer(layout), ordering=ordering, backbone=backbone, head=ToyHead()).eval()


# ---- targets


def test_the_slot_that_predicts_a_token_gets_its_vector() -> None:
    module, fed = TargetPlaces().build(8, GRID, 1), trained(RandomCausal())
    torch.nn.init.normal_(module.get_parameter("table"))
    out_BSD, table_ND = module(fed, GRID), module.get_parameter("table")
    assert fed.target is not None
    assert torch.equal(out_BSD[:, 0], torch.zeros(2, 8))
    assert torch.equal(out_BSD[:, 1:], table_ND[fed.target[:, 1:]])
    with pytest.raises(ValueError, match="TargetPlaces knows the tokens of 2x3 only, got 3x2"):
        module(fed, Layout(((3, 2),)))


def test_without_them_a_model_does_not_know_what_it_is_asked() -> None:
    """Which token of the two that are left is next only the target tells."""
    tokens = torch.randn(2, 6, 3)
    ordering = RandomCausal()
    for told in (True, False):
        model = generator(ordering, places=[TargetPlaces()])
        if not told:
            torch.nn.init.zeros_(model.get_parameter("backbone.places.0.table"))
        condition = model.conditioner(torch.tensor([0, 0]))
        step = ordering.training(GRID, condition.prefix, BatchRng(0, 2), 0.0)
        swapped = step.read.token.clone()
        swapped[..., -2:] = swapped[..., -2:].flip(-1)
        assert step.feed.target is not None
        target = torch.cat((step.feed.target[..., :1], swapped), dim=-1)
        other = Step(Slots(*(vars(step.feed) | {"target": target}).values()), step.read)
        one, two = (model.head.values(model.teacher_predict(s, tokens, condition)()) for s in (step, other))
        assert torch.equal(one[:, 4], two[:, 4]) is not told


@pytest.mark.parametrize("backbone", [Transformer, EncoderDecoder])
def test_a_backbone_that_tells_no_target_is_refused(backbone: type[Transformer] | type[EncoderDecoder]) -> None:
    def build(places: list[Places]) -> Generator:
        parts = {"ordering": RandomCausal(), "backbone": backbone(width=24, places=places), "head": ToyHead()}
        return Generator(tokenizer=ToyTokenizer(GRID), **parts)  # type: ignore[arg-type]

    for places in ([], [LearnedPlaces()]):
        with pytest.raises(ValueError, match=r"RandomCausal must be told .* places: \[LearnedPlaces, TargetPlaces\]"):
            build(places)
    build([LearnedPlaces(), TargetPlaces()])


@pytest.mark.parametrize("ordering", [RandomCausal(), Raster(), RandomInstructed()], ids=lambda o: type(o).__name__)
def test_targets_are_declared(ordering: Ordering) -> None:
    assert ordering.tells_targets is (trained(ordering).target is not None)


# ---- instructions


@pytest.mark.parametrize("layout", [GRID, Layout(((6,),)), Layout(((2, 2, 2),))], ids=str)
def test_an_instruction_is_turned_by_its_place(layout: Layout) -> None:
    module, fed = InstructionPlaces(num_heads=2).build(24, layout, 1), trained(RandomInstructed(), layout)
    torch.nn.init.normal_(module.get_parameter("table"))
    out_BSD, vector_D = module(fed, layout), module.get_parameter("table")[0]
    asks = fed.kind == Kind.LEARNED
    assert torch.equal(out_BSD[:, ~asks], torch.zeros_like(out_BSD[:, ~asks]))
    # Turning keeps lengths, and the first place does not turn.
    torch.testing.assert_close(out_BSD[:, asks].norm(dim=-1), vector_D.norm().expand(2, int(asks.sum())))
    torch.testing.assert_close(out_BSD[:, asks][fed.at[:, asks] == 0], vector_D.expand(2, -1))
    rotation = AxialRotary().rotation(fed, layout, 12, 1)
    assert rotation is not None
    by_head = rotation(vector_D.unflatten(-1, (2, 1, 12)).expand(-1, len(fed), -1)).transpose(-3, -2).flatten(-2)
    torch.testing.assert_close(out_BSD[:, asks], by_head[:, asks])


def test_instructions_serve_any_layout_and_heads_divide() -> None:
    assert InstructionPlaces().any_layout
    module = InstructionPlaces(num_heads=2).build(24, GRID, 1)
    torch.nn.init.normal_(module.get_parameter("table"))
    finer = Layout(((4, 6),))
    # The same point of the image turns by the same angle, as queries and keys do.
    coarse_fed, fine_fed = trained(RandomInstructed(), GRID), trained(RandomInstructed(), finer)
    coarse, fine = module(coarse_fed, GRID), module(fine_fed, finer)
    for token in range(6):
        same = int(token // 3 * 12 + token % 3 * 2)
        one = coarse[0][(coarse_fed.at[0] == token) & (coarse_fed.kind == Kind.LEARNED)][0]
        other = fine[0][(fine_fed.at[0] == same) & (fine_fed.kind == Kind.LEARNED)][0]
        torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match=r"backbone\.places\.num_heads: 5 heads do not divide a width of 24"):
        InstructionPlaces(num_heads=5).build(24, GRID, 1)
    with pytest.raises(ValueError, match=r"num_heads: 12 heads of a width of 24 have 2 channels each, .* at least 4"):
        InstructionPlaces(num_heads=12).build(24, GRID, 1)
    with pytest.raises(ValueError, match=r"num_heads: 8 heads of a width of 24 have 3 channels each"):
        InstructionPlaces(num_heads=8).build(24, Layout(((6,),)), 1)
    with pytest.raises(ValueError, match=r"^backbone\.places\.base: "):
        InstructionPlaces(base=0)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=r"backbone\.places\.num_heads"):
            InstructionPlaces(num_heads=wrong)


# ---- steps


def test_every_rank_of_the_sequence_has_a_vector_of_its_own() -> None:
    """The condition plus the vector, through an ordinary adaLN; every row of the table is used once."""
    for condition in (0, 1, 3):
        module = StepModulation(modulation=AdaLN(zero_init=False)).build(8, 2, condition + 6)
        table_RD = module.get_parameter("table")
        torch.nn.init.normal_(table_RD)
        fed = trained(RandomCausal(), condition=condition)
        vector_B1D = torch.randn(2, 1, 8)
        got = module(vector_B1D, fed).blocks[1]
        block = module.get_submodule("inner.blocks.1")
        assert got is not None
        # Ranks of step 0 come last in the table, from its end.
        ranked_SD = torch.cat((table_RD[5:].flip(0), table_RD[:5]))
        six_BSE = block(F.silu(vector_B1D + ranked_SD))
        torch.testing.assert_close(got[0].gate, six_BSE[..., :8])


@pytest.mark.parametrize(
    "ordering", [Raster(), NextNeighbor(), RegionParallel(), RandomCausal()], ids=lambda o: type(o).__name__
)
@pytest.mark.parametrize(
    "inner", [AdaLN(zero_init=False), SharedAdaLN(zero_init=False)], ids=lambda m: type(m).__name__
)
def test_cached_and_whole_passes_agree(ordering: Ordering, inner: AdaLN | SharedAdaLN) -> None:
    places = [TargetPlaces()] if ordering.tells_targets else []
    model = generator(ordering, places=places, modulation=StepModulation(modulation=inner))
    for use_cache in (True, False):
        sampler = Sampler(use_cache=use_cache)
        tokens = sampler.sample(model, torch.tensor([0, 1]), seeds=[0, 1]).tokens
        if use_cache:
            cached = tokens
    torch.testing.assert_close(cached, tokens, rtol=1e-4, atol=1e-4)


def test_tables_do_not_decay() -> None:
    model = generator(RandomCausal(), places=[TargetPlaces()], modulation=StepModulation())
    _, kept = split_by_decay(model)
    names = {name for name, parameter in model.named_parameters() if any(parameter is each for each in kept)}
    assert {"backbone.places.0.table", "backbone.conditioning.table"} <= names
    assert "backbone.conditioning.inner.blocks.0.weight" not in names


# ---- pairs that make no sense


@pytest.mark.parametrize(
    ("ordering", "parts", "message"),
    [
        (Raster(), {"places": [TargetPlaces()]}, r"backbone\.places: Raster tells no slot its target"),
        (RandomCausal(), {"places": [InstructionPlaces()]}, r"backbone\.places: RandomCausal puts no learned slot on"),
        (
            RandomInstructed(set_sizes=CosineSizes(num_steps=3)),
            {"modulation": StepModulation()},
            r"backbone\.modulation: StepModulation tells slots by their step, which RandomInstructed numbers otherwise",
        ),
    ],
)
def test_refused(ordering: Ordering, parts: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generator(ordering, **parts)


def test_more_steps_than_vectors_are_refused_for_what_they_are() -> None:
    with pytest.raises(ValueError, match=r"as many vectors as .* here 7, but NextBlock counts up to 12 steps"):
        StepModulation().refuse(NextBlock(entities=SingleTokens()), GRID)


def test_levels_may_be_told_by_step() -> None:
    generator(NextScale(), layout=NextScale().layout_of((2, 3)), modulation=StepModulation())


@pytest.mark.parametrize("inner", [NoModulation(), StepModulation()], ids=lambda m: type(m).__name__)
def test_something_has_to_be_modulated_once(inner: NoModulation | StepModulation) -> None:
    with pytest.raises(ValueError, match=r"backbone\.modulation\.modulation: choose AdaLN or SharedAdaLN, got \w+"):
        StepModulation(modulation=inner)


def test_the_recipes_are_places() -> None:
    assert issubclass(TargetPlaces, Places)
    assert issubclass(InstructionPlaces, Places)
