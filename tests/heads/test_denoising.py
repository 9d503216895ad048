"""What heads that take noise away share: which denoiser goes with which slots, copies, and how often it looks.

Letters: B batch, M tokens, K noised copies, C width of a token vector.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from arlab.configurable import from_spec
from arlab.conformance.toy import toy_generator
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.denoiser import Denoised, Denoiser
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.flow import FlowHead
from arlab.heads.head import Head, Hidden, Predicted
from arlab.heads.solvers import Heun
from arlab.heads.time_grids import EvenTimes
from arlab.heads.token_mlp import TokenMLP
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Ordering, Prefix, condition_slots
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.rng import BatchRng
from arlab.tokens import TokenSpace

LAYOUT = Layout(((4, 4),))
CLEAN = frozenset({Kind.COND, Kind.TOKEN})
NOISED = CLEAN | {Kind.NOISY}


def generator(ordering: Ordering, **options: int) -> Generator:
    head = FlowHead(times=EvenTimes(num_steps=3), **options)  # type: ignore[arg-type]
    made = toy_generator(ordering, LAYOUT, head=head)
    with torch.no_grad():
        # What begins at zero hides mistakes.
        for parameter in made.head.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return made


def teacher(made: Generator, tokens: Tensor) -> tuple[Step, object]:
    condition = made.conditioner(torch.zeros(len(tokens), dtype=torch.long))
    step = made.ordering.teacher(made.layout, condition.prefix, BatchRng(3, len(tokens)), tokens.device)
    return step, made.teacher_predict(step, tokens, condition)


# ---- which goes with which


@pytest.mark.parametrize(("carries", "network"), [(CLEAN, TokenMLP), (NOISED, BackboneDenoiser)])
def test_the_slots_choose_the_denoiser(carries: frozenset[Kind], network: type[Denoiser]) -> None:
    head = FlowHead()
    head.bind(8, TokenSpace(3), 1, carries=carries)
    assert type(head.network) is network
    # It is written down, so that another default some day does not change what was trained.
    rebuilt = from_spec(head.spec(), Head)
    assert rebuilt.spec() == head.spec()
    rebuilt.bind(8, TokenSpace(3), 1, carries=carries)
    rebuilt.load_state_dict(head.state_dict())


@pytest.mark.parametrize(
    ("head", "space", "carries", "message"),
    [
        (FlowHead(), TokenSpace(3, 8), CLEAN, "head: FlowHead needs continuous tokens .* choose DiscreteHead"),
        (FlowHead(), TokenSpace(3, 8), NOISED, "cannot be noised as this ordering asks, choose a KLTokenizer$"),
        (FlowHead(denoiser=BackboneDenoiser()), TokenSpace(3), CLEAN, "needs an ordering that feeds noised slots"),
        (FlowHead(denoiser=TokenMLP()), TokenSpace(3), NOISED, "not a TokenMLP; choose BackboneDenoiser"),
    ],
)
def test_what_does_not_go_together_is_refused(
    head: FlowHead, space: TokenSpace, carries: frozenset[Kind], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        head.bind(8, space, 1, carries=carries)


def test_only_a_backbone_embeds_times() -> None:
    head = FlowHead()
    head.bind(8, TokenSpace(3), 1, carries=CLEAN)
    with pytest.raises(TypeError, match="TokenMLP does not noise what the backbone is fed"):
        head.embed_time(torch.zeros(1, 2))


@pytest.mark.parametrize("cls", [TokenMLP, BackboneDenoiser])
def test_wild_options_are_refused(cls: type[Denoiser]) -> None:
    wild = {"width": 0} if cls is TokenMLP else {"init_std": float("nan")}
    with pytest.raises(ValueError, match=r"denoiser\."):
        cls(**wild)


# ---- what is said


def test_guidance_of_what_is_said() -> None:
    c, u = torch.randn(2, 3, 1, 4), torch.randn(2, 3, 1, 4)
    torch.testing.assert_close(Denoised(c, u).guided(2.5), u + 2.5 * (c - u))
    assert Denoised(c, u).guided(1.0) is c
    assert Denoised(c).guided(2.5) is c


def test_a_token_mlp_starts_at_zero_and_learns_from_all_it_is_told() -> None:
    torch.manual_seed(0)
    mlp = TokenMLP(width=16, num_blocks=2)
    mlp.bind(8, 3, 6, 1)
    read = Read.own(torch.arange(4), torch.arange(4))
    h, noisy, time = torch.randn(2, 4, 8, requires_grad=True), torch.randn(2, 4, 5, 3, requires_grad=True), 0.5
    step = Step(condition_slots(Prefix(4)), read)

    def said() -> Tensor:
        denoise = mlp.look(lambda *_: Predicted(Hidden((h,), read, LAYOUT)), step)
        return denoise(noisy, torch.full((2, 4, 5), time)).conditional

    assert said().shape == (2, 4, 5, 6)
    assert not bool(said().any())
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    # A copy of a token depends on that copy and the token's own hidden vector alone.
    said()[1, 2, 3].sum().backward()
    assert h.grad is not None
    assert noisy.grad is not None
    assert [tuple(row) for row in h.grad.any(-1).nonzero().tolist()] == [(1, 2)]
    assert [tuple(row) for row in noisy.grad.any(-1).nonzero().tolist()] == [(1, 2, 3)]


def test_ways_are_mixed_as_velocities() -> None:
    torch.manual_seed(0)
    mlp = TokenMLP(width=16, num_blocks=1)
    mlp.bind(8, 3, 3, 2)
    for parameter in mlp.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ways = (torch.randn(2, 2, 8), torch.randn(2, 2, 8))
    read = Read(
        torch.tensor([0, 1]),
        slot=torch.tensor([[0, 0], [0, 1]]),
        way=torch.tensor([[1, 0], [0, 1]]),
        weight=torch.tensor([[1.0, 0.0], [0.25, 0.75]]),
    )
    noisy, time = torch.randn(2, 2, 4, 3), torch.rand(2, 2, 4)
    predicted = Predicted(Hidden(ways, read, LAYOUT))
    said = mlp.look(lambda *_: predicted, Step(condition_slots(Prefix(2)), read))(noisy, time).conditional

    def own(way: int, slot: int, token: int) -> Tensor:
        return mlp.networks[way](ways[way][:, [slot]], noisy[:, [token]], time[:, [token]])[:, 0]

    torch.testing.assert_close(said[:, 0], own(1, 0, 0))
    torch.testing.assert_close(said[:, 1], 0.25 * own(0, 0, 1) + 0.75 * own(1, 1, 1))


# ---- copies


@pytest.mark.parametrize("ordering", [Raster(), NextNeighbor(), NextX(), Masked()], ids=lambda o: type(o).__name__)
def test_the_loss_of_copies_is_the_mean_of_their_losses(ordering: Ordering) -> None:
    made, tokens = generator(ordering), torch.randn(2, 16, 3)
    step, predict = teacher(made, tokens)
    number = len(step.read)
    target = tokens.gather(1, step.read.token.expand(2, -1)[..., None].expand(-1, -1, 3))
    time, noise = torch.rand(2, number, 3), torch.randn(2, number, 3, 3)
    together = made.head.loss_at(predict, step, target, time, noise)
    apart = [made.head.loss_at(predict, step, target, time[..., k : k + 1], noise[:, :, k : k + 1]) for k in range(3)]
    torch.testing.assert_close(together, torch.stack(apart).mean(0))
    assert together.shape == (2, number)
    assert not torch.equal(apart[0], apart[1])


@pytest.mark.parametrize(("ordering", "passes"), [(Raster(), (1, 1)), (NextX(), (4, 1 + 8))], ids=["once", "a_look"])
def test_how_often_the_backbone_runs(
    ordering: Ordering, passes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, tokens, count = generator(ordering, repeats=4), torch.randn(2, 16, 3), 0
    run_pass = made.run_pass

    def counted(*given: object) -> object:
        nonlocal count
        count += 1
        return run_pass(*given)

    monkeypatch.setattr(made, "run_pass", counted)
    step, predict = teacher(made, tokens)
    made.head.loss(predict, step, tokens[:, step.read.token], BatchRng(0, 2)).mean().backward()
    assert count == passes[0]
    count = 0
    with torch.no_grad():
        bound = made.head.bound(predict, step, tokens[:, step.read.token], BatchRng(0, 2))
    assert count == passes[1]
    assert bound.shape == (2, 16)
    assert bool(bound.isfinite().all())


@pytest.mark.parametrize("cls", [FlowHead, DiffusionHead])
def test_without_looks_validation_reports_the_loss_alone(cls: type[FlowHead | DiffusionHead]) -> None:
    tokens, label = torch.randn(2, 16, 3), torch.zeros(2, dtype=torch.long)
    for looks in (0, 1):
        made = toy_generator(NextX(), LAYOUT, head=cls(bound_looks=looks))
        bound = made.bound(tokens, label, BatchRng(0, 2))
        assert (bound is None) == (looks == 0)


def test_tokens_drawn_together_share_a_time_in_each_copy_whatever_the_order() -> None:
    made = generator(NextX())
    step, _ = teacher(made, torch.randn(2, 16, 3))
    shared = made.head.shared(torch.rand(2, 16, 5), step)
    cells = step.group_M.unique()
    assert len(cells) == 4
    for b in range(2):
        for k in range(5):
            assert all(len(shared[b, step.group_M == cell, k].unique()) == 1 for cell in cells)
            assert len(shared[b, :, k].unique()) == 4
    # Sharing what is shared changes nothing.
    assert torch.equal(made.head.shared(shared, step), shared)


def test_drawn_orders_share_by_their_own_groups() -> None:
    """Groups belong to the reads, of which each sample has its own tokens."""
    head = FlowHead(denoiser=TokenMLP(width=8))
    head.bind(8, TokenSpace(3), 1, carries=CLEAN)
    head.network.together = True
    token_BM = torch.tensor([[3, 1, 0, 2], [0, 2, 3, 1]])
    feed = condition_slots(Prefix(4))
    feed = type(feed)(feed.kind, feed.source, feed.at, torch.tensor([0, 0, 5, 5]), feed.order, feed.keep)
    shared = head.shared(torch.arange(8.0).view(2, 4, 1), Step(feed, Read.own(token_BM, torch.arange(4))))
    assert shared[..., 0].tolist() == [[0, 0, 2, 2], [4, 4, 6, 6]]


# ---- a whole generator


@pytest.mark.parametrize("ordering", [Raster(), NextNeighbor(), NextX(), Masked()], ids=lambda o: type(o).__name__)
def test_it_trains_and_samples_with_any_ordering(ordering: Ordering) -> None:
    made, tokens = generator(ordering, repeats=2), torch.randn(4, 16, 3)
    label, optimizer = torch.tensor([0, 1, 2, 0]), torch.optim.Adam(made.parameters(), lr=3e-3)

    def loss() -> Tensor:
        return made.objective.loss(made, tokens, label, BatchRng(0, 4), made.layout)

    before = loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.9 * before
    made.head.solver = Heun()
    # What rounding makes of random weights over many looks is not asked here.
    made.double()
    sampler = Sampler(guidance=ConstantGuidance(guidance_scale=2.0))
    together = sampler.sample(made, label, seeds=range(4)).tokens
    alone = sampler.sample(made, label[2:3], seeds=[2]).tokens
    assert bool(together.isfinite().all())
    torch.testing.assert_close(together[2:3], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("ordering", [Raster(), NextX(), Masked()], ids=["Raster", "NextX", "Masked"])
def test_an_image_has_a_bound_and_no_exact_likelihood(ordering: Ordering) -> None:
    made, tokens, label = generator(ordering), torch.randn(2, 16, 3), torch.tensor([0, 1])
    assert made.log_prob(tokens, label) is None
    bound = made.bound(tokens, label, BatchRng(0, 2))
    assert bound is not None
    assert bound.shape == (2,)
    assert bool(bound.isfinite().all())
    # Not even near what is impossible: 16 tokens of three standard normal numbers.
    assert float(bound.max()) < 0


def test_the_cache_changes_nothing() -> None:
    made, label = generator(NextX()).double(), torch.tensor([0, 1])
    with_cache, without = (Sampler(use_cache=use).sample(made, label, seeds=[0, 1]).tokens for use in (True, False))
    torch.testing.assert_close(with_cache, without, atol=1e-6, rtol=0)


def test_in_half_and_double_precision_as_a_whole() -> None:
    for ordering in (Raster(), NextX()):
        exact = generator(ordering)
        tokens, label = torch.randn(2, 16, 3), torch.tensor([0, 1])
        losses = {}
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            made = copy.deepcopy(exact).to(dtype)
            losses[dtype] = made.objective.loss(made, tokens.to(dtype), label, BatchRng(0, 2), LAYOUT).float()
            drawn = Sampler().sample(made, label, seeds=[0, 1]).tokens
            assert bool(drawn.isfinite().all())
        torch.testing.assert_close(losses[torch.float64], losses[torch.float32], rtol=1e-5, atol=0)
        torch.testing.assert_close(losses[torch.bfloat16], losses[torch.float32], rtol=0.1, atol=0)
