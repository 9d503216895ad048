from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.backbones.attention import Attention, Context, Mask
from arlab.backbones.feed_forward import MLP, Activation, GatedMLP
from arlab.backbones.modulation import AdaLN, SharedAdaLN
from arlab.backbones.norms import L2QKNorm, LayerNorm, NoQKNorm, NormedQK, RMSNorm
from arlab.backbones.places import LearnedPlaces, LevelPlaces
from arlab.backbones.rotary import AxialRotary, CountedRotation, IdentityRotation, NoRotary, ZeroRotation
from arlab.backbones.transformer import Transformer
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Layout, Slots
from arlab.rotation import Rotation

GRIDS = (Layout(((7,),)), Layout(((2, 5),)), Layout(((2, 3, 4),)))


def every_token(layout: Layout, num_condition: int = 0) -> Slots:
    token = torch.arange(layout.num_tokens)
    fed = slots(Kind.TOKEN, token, token, 1)
    return Slots.cat([condition_slots(Prefix(num_condition)), fed]) if num_condition else fed


# ---- norms


def test_norms_are_their_formulas() -> None:
    x = torch.randn(3, 8)
    weight = torch.randn(8)
    rms = RMSNorm(eps=1e-3).build(8)
    rms.weight.data.copy_(weight)
    torch.testing.assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * weight)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(LayerNorm(affine=False).build(8)(x), expected)
    assert not list(LayerNorm(affine=False).build(8).parameters())


def test_l2_scores_are_cosines_times_a_clamped_scale() -> None:
    norm = L2QKNorm(init_scale=4.0, max_scale=100.0).build(2, 8)
    q, k = torch.randn(1, 2, 3, 8), torch.randn(1, 2, 3, 8)
    cosine = F.cosine_similarity(q[..., :, None, :], k[..., None, :, :], dim=-1)
    for log_scale, factor in ((math.log(4.0), 4.0), (5.0, 100.0)):
        norm.log_scale_H.data.fill_(log_scale)
        q_hat, k_hat, scale = norm(q, k)
        torch.testing.assert_close(scale * q_hat @ k_hat.transpose(-1, -2), factor * cosine)


def test_softmax_scales() -> None:
    q = torch.randn(1, 2, 3, 16)
    assert NoQKNorm(factor=0.25).build(2, 16)(q, q)[2] == 0.25 / 4
    q_hat, _, scale = NormedQK(norm=RMSNorm(eps=0.0)).build(2, 16)(q, q)
    assert scale == 0.25
    torch.testing.assert_close(q_hat.square().mean(-1), torch.ones(1, 2, 3))


def test_attention_is_its_formula() -> None:
    module = Attention(num_heads=2, qkv_bias=True, out_bias=True).build(8, 0, 0.0)
    h = torch.randn(1, 4, 8)
    allowed = torch.ones(4, 4).tril().bool()
    q, k, v = (part.view(4, 2, 4).transpose(0, 1) for part in module.qkv(h)[0].chunk(3, -1))
    score = (q @ k.transpose(1, 2) / 2).masked_fill(~allowed, -torch.inf)
    expected = module.out((score.softmax(-1) @ v).transpose(0, 1).flatten(1))
    for mask in (Mask(allowed), Mask(causal=True)):
        torch.testing.assert_close(module(h, Context(mask))[0], expected)
    with pytest.raises(ValueError, match="3 heads do not divide a width of 8"):
        Attention(num_heads=3).build(8, 0, 0.0)


# ---- feed-forward


@pytest.mark.parametrize(
    ("width", "ratio", "multiple_of", "hidden"),
    [(64, 8 / 3, 256, 256), (768, 8 / 3, 256, 2048), (1280, 8 / 3, 256, 3584), (96, 8 / 3, 1, 256), (64, 4.0, 64, 256)],
)
def test_gated_width_is_rounded_up(width: int, ratio: float, multiple_of: int, hidden: int) -> None:
    module = GatedMLP(ratio=ratio, multiple_of=multiple_of).build(width, 0.0)
    assert module.gate.out_features == module.up.out_features == module.down.in_features == hidden


def test_feed_forward_formulas() -> None:
    x = torch.randn(2, 8)
    gated = GatedMLP(multiple_of=8).build(8, 0.0)
    torch.testing.assert_close(gated(x), gated.down(F.silu(gated.gate(x)) * gated.up(x)))
    plain = MLP(ratio=2.0, activation=Activation.RELU).build(8, 0.0)
    torch.testing.assert_close(plain(x), plain.fc2(plain.fc1(x).clamp(min=0)))


def test_activations() -> None:
    x = torch.linspace(-3, 3, 13)
    gauss = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    torch.testing.assert_close(Activation.GELU(x), x * gauss)
    cubic = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    torch.testing.assert_close(Activation.GELU_TANH(x), 0.5 * x * (1 + cubic.tanh()))
    torch.testing.assert_close(Activation.SILU(x), x * x.sigmoid())
    torch.testing.assert_close(Activation.RELU(x), x.clamp(min=0))


# ---- rotary


def rotation(layout: Layout, rows: Slots, num_condition: int = 0, width: int = 24) -> Rotation:
    found = AxialRotary(base=100.0, nowhere=IdentityRotation()).rotation(rows, layout, width, num_condition)
    assert found is not None
    return found


@pytest.mark.parametrize("layout", GRIDS, ids=lambda layout: f"{layout.num_axes}d")
def test_scores_depend_on_offsets_only(layout: Layout) -> None:
    q, k = torch.randn(24), torch.randn(24)
    turn = rotation(layout, every_token(layout))
    score = turn(q.expand(layout.num_tokens, -1)) @ turn(k.expand(layout.num_tokens, -1)).T
    seen: dict[tuple[float, ...], Tensor] = {}
    for i, here in enumerate(layout.place_NA):
        for j, there in enumerate(layout.place_NA):
            offset = tuple((here - there).tolist())
            torch.testing.assert_close(score[i, j], seen.setdefault(offset, score[i, j]), atol=1e-4, rtol=1e-4)
    values = torch.stack(list(seen.values()))
    # Different offsets score differently: no axis was left out.
    assert len(values.unique()) == len(values)


@pytest.mark.parametrize("layout", GRIDS, ids=lambda layout: f"{layout.num_axes}d")
def test_rotation_keeps_norms_and_turns_adjacent_pairs(layout: Layout) -> None:
    x = torch.randn(layout.num_tokens, 24)
    turned = rotation(layout, every_token(layout))(x)
    torch.testing.assert_close(turned.unflatten(-1, (12, 2)).norm(dim=-1), x.unflatten(-1, (12, 2)).norm(dim=-1))


def test_first_pairs_turn_by_the_row_and_the_next_by_the_column() -> None:
    layout = Layout(((2, 3),))
    turn = AxialRotary(base=100.0).rotation(every_token(layout), layout, 8, 0)
    assert turn is not None
    row, column = layout.place_NA.T
    expected = torch.stack((row, row * 0.1, column, column * 0.1), -1)
    torch.testing.assert_close(turn.cos, expected.cos())
    torch.testing.assert_close(turn.sin, expected.sin())


def test_pairs_left_over_are_not_turned() -> None:
    turned = rotation(GRIDS[1], every_token(GRIDS[1]), width=6)(torch.ones(10, 6))
    torch.testing.assert_close(turned[:, 4:], torch.ones(10, 2))


def test_condition_slots_are_erased_left_or_counted() -> None:
    layout = Layout(((2, 3),))
    rows = every_token(layout, num_condition=3)
    x = torch.randn(9, 8)
    turned = {}
    for nowhere in (ZeroRotation(), IdentityRotation(), CountedRotation()):
        turn = AxialRotary(nowhere=nowhere).rotation(rows, layout, 8, 3)
        assert turn is not None
        turned[type(nowhere)] = turn(x)
    assert not turned[ZeroRotation][:3].any()
    assert torch.equal(turned[IdentityRotation][:3], x[:3])
    # Slot 2 of 3 stands one place before the image along both axes: it turns against the token at (1, 1).
    turn = AxialRotary(nowhere=CountedRotation()).rotation(rows, layout, 8, 3)
    assert turn is not None
    torch.testing.assert_close(turn.sin[2], -turn.sin[3 + 4])
    torch.testing.assert_close(turn.cos[2], turn.cos[3 + 4])
    for each in (IdentityRotation, CountedRotation):
        torch.testing.assert_close(turned[each][3:], turned[ZeroRotation][3:])


def test_places_per_sample() -> None:
    layout = Layout(((2, 3),))
    drawn = torch.tensor([[0, 5, 2], [4, 1, 3]])
    x = torch.randn(2, 2, 3, 8)
    turned = rotation(layout, slots(Kind.TOKEN, drawn, drawn, 0), width=8)(x)
    for sample in range(2):
        alone = rotation(layout, slots(Kind.TOKEN, drawn[sample], drawn[sample], 0), width=8)(x[sample])
        torch.testing.assert_close(turned[sample], alone)


def test_coarse_levels_stand_in_finest_units() -> None:
    layout = Layout(((1, 2), (2, 4)))
    turn = rotation(layout, every_token(layout), width=8)
    coarse, fine = 1, 2 + 2
    torch.testing.assert_close(turn.cos[coarse], turn.cos[fine])


def test_narrow_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="no pair of channels for 3 axes"):
        AxialRotary().rotation(every_token(GRIDS[2]), GRIDS[2], 4, 0)
    assert NoRotary().rotation(every_token(GRIDS[2]), GRIDS[2], 4, 0) is None


# ---- places


def test_learned_places_and_levels() -> None:
    layout = Layout(((1, 1), (1, 2)))
    rows = every_token(layout, num_condition=2)
    learned = LearnedPlaces().build(4, layout, 2)
    learned.table.data.copy_(torch.arange(5.0)[:, None].expand(-1, 4))
    assert learned(rows, layout)[:, 0].tolist() == [3, 4, 0, 1, 2]
    nowhere = slots(Kind.LEARNED, torch.tensor([0]), torch.tensor([-1]), 0)
    assert not learned(nowhere, layout).any()
    level = LevelPlaces().build(4, layout, 2)
    level.table.data.copy_(torch.tensor([7.0, 8.0])[:, None].expand(-1, 4))
    assert level(rows, layout)[:, 0].tolist() == [0, 0, 7, 8, 8]


# ---- the whole backbone


def bound(transformer: Transformer, ways: int = 1) -> Transformer:
    transformer.bind(Layout(((2, 3),)), 1, ways)
    return transformer


LAYOUT = Layout(((2, 3),))


def run(transformer: Transformer, h: Tensor, condition: Tensor | None = None) -> tuple[Tensor, ...]:
    rows = every_token(Layout(((2, 3),)), num_condition=1)
    return transformer(h, rows, Mask(causal=True), transformer.modulate(condition), LAYOUT)


@pytest.mark.parametrize("modulation", [AdaLN, SharedAdaLN])
def test_zero_initialised_modulation_starts_as_the_identity(modulation: type[AdaLN | SharedAdaLN]) -> None:
    backbone = bound(Transformer(width=16, modulation=modulation(), norm=LayerNorm(affine=False)))
    h, condition = torch.randn(2, 7, 16), torch.randn(2, 1, 16)
    (out,) = run(backbone, h, condition)
    torch.testing.assert_close(out, F.layer_norm(h, (16,), eps=1e-6))


@pytest.mark.parametrize("modulation", [AdaLN, SharedAdaLN])
def test_modulation_per_slot_equals_per_image_where_it_is_constant(modulation: type[AdaLN | SharedAdaLN]) -> None:
    backbone = bound(Transformer(width=16, modulation=modulation(zero_init=False), init_std=0.3))
    h, condition = torch.randn(2, 7, 16), torch.randn(2, 1, 16)
    (one,), (many,) = run(backbone, h, condition), run(backbone, h, condition.expand(-1, 7, -1))
    torch.testing.assert_close(one, many)
    (other,) = run(backbone, h, condition + 1)
    assert (one - other).abs().max() > 1e-2


def test_shared_modulation_is_smaller() -> None:
    each, shared = (bound(Transformer(width=16, modulation=kind())) for kind in (AdaLN, SharedAdaLN))
    sizes = [sum(p.numel() for p in b.conditioning.parameters()) for b in (each, shared)]
    assert sizes[0] - sizes[1] == 3 * (6 * 16 * 16 + 6 * 16) - 4 * 6 * 16


def test_each_way_leaves_after_its_layers() -> None:
    backbone = bound(Transformer(width=16, num_layers=2, way_layers=3), ways=3)
    assert backbone.out_after == [2, 5, 8]
    assert len(backbone.blocks) == 8
    outs = run(backbone, torch.randn(1, 7, 16))
    assert [out.shape for out in outs] == [(1, 7, 16)] * 3
    # The first way does not depend on what comes after it.
    outs[0].sum().backward()
    assert backbone.blocks[1].feed_forward.down.weight.grad is not None
    assert backbone.blocks[2].feed_forward.down.weight.grad is None


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    backbone = bound(Transformer(width=16, num_layers=2, drop_path=0.5))
    assert [block.drop_path for block in backbone.blocks] == [0.0, 0.5]
    block = backbone.blocks[1].train()
    dropped = block._drop(torch.ones(4000, 2, 3))
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped.amax((1, 2)), dropped.amin((1, 2)))
    # Five standard deviations of the mean of 4000 fair coins worth two.
    assert abs(float(dropped.mean()) - 1) < 5 / math.sqrt(4000)
    assert torch.equal(block.eval()._drop(torch.ones(3, 2, 3)), torch.ones(3, 2, 3))


def test_dropout_reaches_input_and_branches() -> None:
    backbone = bound(Transformer(width=16, dropout=0.5))
    h = torch.randn(2, 7, 16)
    backbone.train()
    assert not torch.equal(run(backbone, h)[0], run(backbone, h)[0])
    backbone.eval()
    assert torch.equal(run(backbone, h)[0], run(backbone, h)[0])
