from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.conformance.toy import toy_generator
from arlab.data.facts import DataFacts
from arlab.generators.conditioners import ClassLabel, Condition, Conditioner
from arlab.generators.feeding import gather, mask_for, scatter
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.heads.head import Head
from arlab.orderings.mask_ratios import MaskRatio
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Slots
from arlab.rng import BatchRng, Rng
from arlab.tokens import TokenSpace
from tests.conformance.test_laws import Rows
from tests.tiny import GrayLevels, tiny_backbone

LAYOUT = Layout(((2, 3),))
EMBEDDING = ("embedding.", "input.")


class AllMasked(MaskRatio):
    """Every token, in every step."""

    def at(self, uniform: float) -> float:
        return 1.0


def fed(*index: int, step: int) -> Slots:
    token = torch.tensor(index)
    return slots(Kind.TOKEN, token, token, step)


def test_gather_and_scatter_are_inverse() -> None:
    values = torch.randn(2, 5, 3)
    same, own = torch.tensor([4, 0]), torch.tensor([[4, 0], [1, 3]])
    assert torch.equal(gather(values, same), values[:, [4, 0]])
    assert torch.equal(gather(values, own)[1], values[1, [1, 3]])
    assert torch.equal(gather(values[..., 0], own)[1], values[1, [1, 3], 0])
    for index in (same, own):
        new = torch.randn(2, 2, 3)
        written = scatter(values, index, new)
        assert torch.equal(gather(written, index), new)
        untouched = scatter(torch.zeros(2, 5), index, torch.ones(2, 2)) == 0
        assert torch.equal(written[untouched], values[untouched])


def test_no_table_where_none_is_needed() -> None:
    kept, one, two = fed(0, 1, step=0), fed(2, step=1), fed(2, 3, step=1)
    causal = mask_for(Raster(), LAYOUT, Slots.cat([kept, one]), None)
    assert (causal.causal, causal.allowed) == (True, None)
    assert mask_for(Raster(), LAYOUT, one, kept).allowed is None
    assert mask_for(NextNeighbor(), LAYOUT, two, kept).allowed is None
    behind = mask_for(Raster(), LAYOUT, two, kept).allowed
    assert behind is not None
    assert behind.tolist() == [[True, True, True, False], [True, True, True, True]]
    several = mask_for(NextNeighbor(), LAYOUT, Slots.cat([kept, two]), None).allowed
    assert several is not None
    assert several.tolist() == [[True, True, False, False]] * 2 + [[True] * 4] * 2


@pytest.mark.parametrize(
    ("head", "space"), [(DiscreteHead(), TokenSpace(3, 4)), (FlowHead(), TokenSpace(3))], ids=["codes", "vectors"]
)
def test_every_weight_has_a_gradient_where_no_token_is_fed(head: Head, space: TokenSpace) -> None:
    """Or processes that train together wait for ever for the one that masked all tokens."""
    made = toy_generator(Masked(mask_ratio=AllMasked()), LAYOUT, head=head, space=space).train()
    tokens = torch.randint(4, (2, 6)) if space.discrete else torch.randn(2, 6, 3)
    kinds: list[Tensor] = []
    made.backbone.register_forward_pre_hook(lambda module, arguments: kinds.append(arguments[1].kind))
    loss = made.objective.loss(made, tokens, torch.tensor([0, 1]), BatchRng(0, 2), LAYOUT)
    loss.backward()
    assert all((kind != Kind.TOKEN).all() for kind in kinds)
    assert [name for name, parameter in made.named_parameters() if parameter.grad is None] == []
    assert all(not parameter.grad.any() for name, parameter in head.named_parameters() if name.startswith(EMBEDDING))
    with torch.no_grad():
        made.slot_embedding.eval()
        again = made.objective.loss(made, tokens, torch.tensor([0, 1]), BatchRng(0, 2), LAYOUT)
    assert torch.equal(again, loss)


def test_padding_is_hidden_from_all_but_itself() -> None:
    valid = torch.tensor([[True, True], [False, True]])
    rows = Slots.cat([condition_slots(Prefix(2, valid)), fed(0, step=1)])
    allowed = mask_for(Raster(), LAYOUT, rows, None).allowed
    assert allowed is not None
    assert allowed.shape == (2, 1, 3, 3)
    assert allowed[0, 0].tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert allowed[1, 0].tolist() == [[True, False, False], [False, True, False], [False, True, True]]
    later = mask_for(Raster(), LAYOUT, fed(1, step=2), rows).allowed
    assert later is not None
    assert later[:, 0, 0].tolist() == [[True, True, True, True], [False, True, True, True]]


class Padded(Conditioner):
    """Three condition slots, of which the first one holds noise and is padding where the label is 1."""

    num_slots = 3

    def __init__(self) -> None:
        super().__init__()
        self.inner = ClassLabel(num_slots=3, init_std=1.0)
        self.noise = 0.0

    def bind(self, width: int, facts: DataFacts) -> None:
        self.inner.bind(width, facts)

    def forward(self, label: Tensor) -> Condition:
        condition = self.inner(label)
        valid = torch.ones(len(label), 3, dtype=torch.bool)
        valid[:, 0] = label != 1
        noise = self.noise * (~valid)[..., None]
        return Condition(condition.slots + noise, condition.vector, valid)

    def null(self, label: Tensor) -> Tensor:
        return self.inner.null(label)

    def drop(self, label: Tensor, rng: Rng) -> Tensor:
        return label


def test_what_padding_holds_does_not_matter() -> None:
    images, labels = torch.randint(3, (2, 6)), torch.tensor([0, 1])
    for ordering in (Raster(), Rows(), NextNeighbor()):
        torch.manual_seed(0)
        conditioner = Padded()
        generator = Generator(
            tokenizer=GrayLevels(),
            ordering=ordering,
            backbone=tiny_backbone(),
            head=DiscreteHead(zero_init=False, init_std=0.5),
            conditioner=conditioner,
        ).eval()
        found = []
        for noise in (0.0, 5.0):
            conditioner.noise = noise
            tokens = [
                Sampler(use_cache=cache, guidance=ConstantGuidance(guidance_scale=scale))
                .sample(generator, labels.repeat(8), seeds=range(16))
                .tokens
                for cache in (True, False)
                for scale in (1.0, 2.0)
            ]
            found.append((generator.log_prob(images, labels), tokens))
        (clean, without), (noisy, with_noise) = found
        assert clean is not None
        assert noisy is not None
        torch.testing.assert_close(clean, noisy)
        assert all(torch.equal(a, b) for a, b in zip(without, with_noise, strict=True))
        # With and without cache, too.
        assert torch.equal(without[0], without[2])
        assert torch.equal(without[1], without[3])


def test_each_half_of_a_guided_pass_has_its_own_padding() -> None:
    generator = Generator(
        tokenizer=GrayLevels(),
        ordering=Raster(),
        backbone=tiny_backbone(),
        head=DiscreteHead(),
        conditioner=Padded(),
    ).eval()
    seen: list[Tensor] = []

    def watch(module: object, arguments: tuple[object, ...]) -> None:
        rows = arguments[1]
        assert isinstance(rows, Slots)
        if rows.valid is not None:
            seen.append(rows.valid)

    generator.backbone.register_forward_pre_hook(watch)
    Sampler(guidance=ConstantGuidance(guidance_scale=2.0)).sample(generator, torch.tensor([0, 1]), seeds=[0, 1])
    # Rows: class 0, class 1 (whose first slot is padding), then 'no class' twice, which has no padding.
    assert seen[0][:, 0].tolist() == [True, False, True, True]
