from __future__ import annotations

import pytest
import torch

from arlab.backbones.attention import Attention
from arlab.backbones.modulation import AdaLN, NoModulation, SharedAdaLN
from arlab.backbones.noised_modulation import NoisedOnly
from arlab.backbones.transformer import Transformer
from arlab.conformance.toy import ToyTokenizer
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.flow import FlowHead
from arlab.heads.time_grids import EvenTimes
from arlab.orderings.entities import WholeImage
from arlab.orderings.next_block import NextBlock
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Ordering, Prefix, slots
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Slots
from arlab.rng import SampleRng

GRID = Layout(((4, 4),))


def rows(*kinds: Kind) -> Slots:
    return Slots.cat([slots(kind, torch.tensor([0]), torch.tensor([0]), 0) for kind in kinds])


@pytest.mark.parametrize("inner", [AdaLN(zero_init=False), SharedAdaLN(zero_init=False)])
def test_only_noised_slots_are_modulated(inner: AdaLN | SharedAdaLN) -> None:
    torch.manual_seed(0)
    module = NoisedOnly(modulation=inner).build(8, 2, 5)
    condition_BSD = torch.randn(3, 4, 8)
    fed = rows(Kind.TOKEN, Kind.NOISY, Kind.COND, Kind.NOISY)
    modulated, everywhere = module(condition_BSD, fed), module(condition_BSD)
    for ours, theirs in zip(modulated.blocks, everywhere.blocks, strict=True):
        for shift, other in zip(ours, theirs, strict=True):
            for name, nothing in (("scale", 0.0), ("shift", 0.0), ("gate", 1.0)):
                value, full = getattr(shift, name), getattr(other, name)
                assert (value[:, [0, 2]] == nothing).all()
                assert torch.equal(value[:, [1, 3]], full[:, [1, 3]])
                assert (full != nothing).all()
    for value, full in zip(modulated.final, everywhere.final, strict=True):
        assert (value[:, [0, 2]] == 0).all()
        assert torch.equal(value[:, [1, 3]], full[:, [1, 3]])


def generator(ordering: Ordering) -> Generator:
    torch.manual_seed(0)
    return Generator(
        tokenizer=ToyTokenizer(GRID),
        ordering=ordering,
        backbone=Transformer(
            width=24,
            num_layers=2,
            attention=Attention(num_heads=2),
            modulation=NoisedOnly(modulation=AdaLN(zero_init=False)),
            init_std=0.3,
        ),
        head=FlowHead(times=EvenTimes(num_steps=2)),
        conditioner=ClassLabel(num_slots=0, init_std=1.0),
    ).eval()


def test_what_is_kept_knows_no_class() -> None:
    model = generator(NextBlock())
    ways: list[torch.Tensor] = []
    hook = model.backbone.register_forward_hook(lambda module, args, out: ways.append(out[0]))
    step = model.ordering.training(GRID, Prefix(0), SampleRng([0]))
    tokens, noisy = torch.randn(1, 16, 3), torch.randn(1, 16, 3)
    for label in (0, 1):
        model.teacher_predict(step, tokens, model.conditioner(torch.tensor([label])))(noisy, torch.rand(1, 16))
    hook.remove()
    clean = step.feed.kind == Kind.TOKEN
    torch.testing.assert_close(ways[0][:, clean], ways[1][:, clean])
    assert not torch.isclose(ways[0][:, ~clean], ways[1][:, ~clean]).any()


def test_the_cache_changes_no_sample() -> None:
    model = generator(NextBlock())
    torch.nn.init.normal_(model.head.network.outputs[0].weight)
    cached, whole = (
        Sampler(use_cache=use_cache).sample(model, torch.tensor([0, 1]), seeds=[1, 2]).tokens
        for use_cache in (True, False)
    )
    torch.testing.assert_close(cached, whole, atol=1e-4, rtol=1e-4)


def test_what_would_have_no_effect_is_refused() -> None:
    with pytest.raises(ValueError, match="NoModulation modulates nothing"):
        NoisedOnly(modulation=NoModulation())
    with pytest.raises(ValueError, match="NoisedOnly modulates noised slots, and this ordering feeds none"):
        generator(Raster())


def test_clean_slots_must_be_trained() -> None:
    with pytest.raises(ValueError, match="NoisedOnly leaves clean slots unmodulated, but in training NextX feeds none"):
        generator(NextX())
    # A single entity has nothing clean before it, in decoding neither.
    for ordering in (NextX(entities=WholeImage()), NextBlock(entities=WholeImage()), NextBlock()):
        generator(ordering)
