from __future__ import annotations

import pytest
import torch

from arlab.conformance.toy import toy_generator
from arlab.generators.objective import TeacherForcing
from arlab.heads.flow import FlowHead
from arlab.orderings.entities import Cells, SingleTokens, WholeImage
from arlab.orderings.next_block import NextBlock
from arlab.orderings.ordering import Prefix
from arlab.orderings.step import Kind, Layout
from arlab.rng import BatchRng, SampleRng

GRID = Layout(((4, 6),))
RNG = SampleRng([0])


@pytest.mark.parametrize("condition", [0, 1, 3])
def test_the_training_pass_is_skip_causal(condition: int) -> None:
    ordering = NextBlock()
    fed = ordering.training(GRID, Prefix(condition), RNG).feed
    block_N = torch.cat([torch.full_like(token, number) for number, token in enumerate(ordering.split(GRID))])
    order = torch.cat(ordering.split(GRID))
    block = block_N[order.argsort()][fed.source.clamp(max=GRID.num_tokens - 1)]
    # The last block is never fed clean: nothing comes after it.
    assert (fed.kind == Kind.TOKEN).sum() == 18
    for row, key in torch.cartesian_prod(torch.arange(len(fed)), torch.arange(len(fed))).tolist():
        seen = bool(ordering.see(fed.select(torch.tensor([row])), fed.select(torch.tensor([key]))))
        query_kind, key_kind = int(fed.kind[row]), int(fed.kind[key])
        expected = key_kind == Kind.COND
        if query_kind != Kind.COND and key_kind == Kind.TOKEN:
            expected = bool(block[key] < block[row] + (query_kind == Kind.TOKEN))
        elif query_kind == Kind.NOISY and key_kind == Kind.NOISY:
            expected = bool(block[key] == block[row])
        assert seen == expected


def test_it_is_built_once() -> None:
    ordering = NextBlock()
    passes = [ordering.teacher(GRID, Prefix(1), BatchRng(seed, 2), torch.device("cpu")) for seed in (0, 1)]
    assert passes[0] is passes[1]


def test_one_block_is_plain_flow_of_the_image() -> None:
    ordering = NextBlock(entities=WholeImage())
    (step,) = ordering.steps(GRID, Prefix(0), RNG)
    training = ordering.training(GRID, Prefix(0), RNG)
    assert training.feed.kind.tolist() == [Kind.NOISY] * GRID.num_tokens
    assert bool(ordering.see(training.feed, training.feed).all())
    assert step.progress is not None
    assert (step.progress.step, step.progress.steps) == (0, 1)
    generator = toy_generator(ordering, GRID, head=FlowHead(), num_slots=0)
    tokens, label = torch.randn(2, GRID.num_tokens, 3), torch.tensor([0, 1])
    condition = generator.conditioner(label)
    # By hand: one time an image, x_t = (1 - t) x + t ε, the whole of it through the backbone, the error of ε - x.
    rng = BatchRng(5, 2)
    time_B1 = rng.uniform(GRID.num_tokens, 1)[:, 0]
    noise_BNC = rng.normal(GRID.num_tokens, 1, 3)[:, :, 0]
    noisy_BNC = (1 - time_B1[..., None]) * tokens + time_B1[..., None] * noise_BNC
    predicted = generator.teacher_predict(training, tokens, condition)(noisy_BNC, time_B1.expand(-1, GRID.num_tokens))
    velocity = predicted.conditional.mix(list(generator.head.network.outputs))
    expected = (velocity - (noise_BNC - tokens)).square().mean()
    generator.conditioner.drop = lambda label, rng: label  # type: ignore[method-assign]
    loss = TeacherForcing().loss(generator, tokens, label, BatchRng(5, 2), GRID)
    torch.testing.assert_close(loss, expected)


def test_blocks_of_one_token_are_next_token_prediction() -> None:
    ordering = NextBlock(entities=SingleTokens())
    steps = list(ordering.steps(GRID, Prefix(1), RNG))
    assert [step.read.token.tolist() for step in steps] == [[token] for token in range(24)]
    assert [len(step.feed) for step in steps] == [2] * 24
    fed = ordering.training(GRID, Prefix(1), RNG).feed
    for row in (fed.kind == Kind.NOISY).nonzero()[:, 0].tolist():
        seen = ordering.see(fed.select(torch.tensor([row])), fed)[0]
        token = int(fed.source[row])
        assert fed.source[seen & (fed.kind == Kind.TOKEN)].tolist() == list(range(token))
        assert fed.source[seen & (fed.kind == Kind.NOISY)].tolist() == [token]


@pytest.mark.parametrize(("shape", "steps", "slots"), [(1, 24, 47), (2, 6, 44), (3, 4, 45), (9, 1, 24)])
def test_block_size_goes_from_tokens_to_the_image(shape: int, steps: int, slots: int) -> None:
    ordering = NextBlock(entities=Cells(shape=shape))
    assert len(list(ordering.steps(GRID, Prefix(0), RNG))) == steps
    assert len(ordering.training(GRID, Prefix(0), RNG).feed) == slots
