"""The vector quantizer against its formulas.

Letters: B batch, C vector width, h and w latent sides, V codebook size, T vectors.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from arlab.optimization import split_by_decay
from arlab.orderings.step import Layout
from arlab.tokenizers.quantizers.entropy import EntropyLoss
from arlab.tokenizers.quantizers.quantizer import CodeCounts, perplexity, usage
from arlab.tokenizers.quantizers.similarity import Cosine
from arlab.tokenizers.quantizers.vq import VectorQuantizer


def bound(width: int = 3, **options: object) -> VectorQuantizer:
    quantizer = VectorQuantizer(**{"codebook_size": 8, **options})  # type: ignore[arg-type]
    quantizer.bind(width, (2, 5))
    return quantizer


def latents(batch: int = 4, width: int = 3, sides: tuple[int, int] = (2, 5), seed: int = 0) -> Tensor:
    return torch.randn(batch, width, *sides, generator=torch.Generator().manual_seed(seed))


def flat(z_BChw: Tensor) -> Tensor:
    return z_BChw.permute(0, 2, 3, 1).reshape(-1, z_BChw.shape[1])


def test_the_nearest_code_is_chosen() -> None:
    quantizer = bound().eval()
    z_BChw = latents()
    quantized = quantizer(z_BChw)
    assert torch.equal(quantized.tokens.flatten(), torch.cdist(flat(z_BChw), quantizer.codebook).argmin(-1))
    assert quantized.tokens.shape == (4, 10)
    torch.testing.assert_close(quantized.vectors, quantizer.assemble(quantizer.vectors(quantized.tokens)))


def test_gradients_pass_straight_through_and_commit() -> None:
    quantizer = bound(commitment_weight=0.5).eval()
    z_BChw = latents().requires_grad_()
    quantized = quantizer(z_BChw)
    upstream = latents(seed=1)
    (through,) = torch.autograd.grad((quantized.vectors * upstream).sum(), z_BChw, retain_graph=True)
    torch.testing.assert_close(through, upstream)
    (drawn,) = torch.autograd.grad(quantized.loss, z_BChw)
    torch.testing.assert_close(drawn, 0.5 * 2 * (z_BChw - quantized.vectors).detach() / z_BChw.numel())


def test_the_codebook_starts_from_latents_and_follows_their_moving_average() -> None:
    quantizer = bound(decay=0.9, revive_below=0.0)
    first_BChw, second_BChw = latents(seed=1), latents(seed=2)
    ids_T = quantizer(first_BChw).tokens.flatten()
    z_TC = flat(first_BChw)

    # By hand, from the start: 8 different latents, each with the average use 40 / 8.
    quantizer2 = bound(decay=0.9, revive_below=0.0)
    quantizer2.start(z_TC)
    start_VC = quantizer2.codebook.clone()
    assert (torch.cdist(start_VC, z_TC).min(-1).values < 1e-6).all()
    assert len(start_VC.unique(dim=0)) == 8

    count, total = [5.0] * 8, [start_VC[v] * 5.0 for v in range(8)]
    for batch in (first_BChw, second_BChw):
        z_TC = flat(batch)
        codes = torch.stack([total[v] / count[v] for v in range(8)])
        nearest = torch.cdist(z_TC, codes).argmin(-1)
        for v in range(8):
            mine = z_TC[nearest == v]
            count[v] = 0.9 * count[v] + 0.1 * len(mine)
            total[v] = 0.9 * total[v] + 0.1 * mine.sum(0)
        if batch is first_BChw:
            assert torch.equal(nearest, ids_T)
            quantizer(second_BChw)
    torch.testing.assert_close(quantizer.count, torch.tensor(count))
    torch.testing.assert_close(quantizer.codebook, torch.stack([total[v] / count[v] for v in range(8)]))


def test_dead_codes_are_revived_as_latents_of_the_batch() -> None:
    quantizer = bound(decay=0.5, revive_below=0.2)
    quantizer(latents())
    z_BChw = latents(seed=3)
    quantizer.codebook[2] = quantizer.total[2] = 1e3  # far from everything, so never chosen
    quantizer.count[2] = 0.3 * quantizer.count.mean()  # halved once more it is below 0.2 of the average
    before = quantizer.codebook.clone()
    revived = quantizer(z_BChw).figures["revived"]
    assert revived >= 1
    assert (flat(z_BChw) - quantizer.codebook[2]).abs().sum(-1).min() < 1e-5
    alive = quantizer.count > 0.2 * quantizer.count.mean()
    assert alive.all()
    assert not torch.equal(before, quantizer.codebook)


def test_without_revival_a_dead_code_stays() -> None:
    quantizer = bound(decay=0.5, revive_below=0.0)
    quantizer(latents())
    quantizer.codebook[2], quantizer.total[2] = 1e3, 1e3 * quantizer.count[2]
    assert quantizer(latents(seed=3)).figures["revived"] == 0
    torch.testing.assert_close(quantizer.codebook[2], torch.full((3,), 1e3))


def test_a_code_that_nothing_hits_stays_where_it_is_for_ever() -> None:
    """Its count and sum fade away together; their ratio must not become the origin, which Cosine would prefer."""
    quantizer = bound(decay=0.5, revive_below=0.0, similarity=Cosine())
    quantizer(latents())
    quantizer.codebook[2] = quantizer.similarity.place(torch.tensor([[0.0, 0.0, -1.0]]))[0]
    quantizer.total[2] = quantizer.codebook[2] * quantizer.count[2]
    kept = quantizer.codebook[2].clone()
    for _ in range(60):
        quantizer(torch.ones(1, 3, 2, 5))
    assert quantizer.count[2] < 1e-8
    torch.testing.assert_close(quantizer.codebook[2], kept)


def test_evaluation_changes_nothing() -> None:
    quantizer = bound().eval()
    before = copy.deepcopy(quantizer.state_dict())
    assert not quantizer(latents()).figures
    assert all(torch.equal(before[key], value) for key, value in quantizer.state_dict().items())


def test_random_choices_depend_on_seed_and_step_alone() -> None:
    """A copy made from the saved state goes on exactly like the original, whatever the global generator does."""
    original = bound(decay=0.5, revive_below=0.9)
    original(latents())
    resumed = bound(decay=0.5, revive_below=0.9)
    resumed.load_state_dict(original.state_dict())
    for seed in range(1, 4):
        original(latents(seed=seed))
        torch.rand(7)
        resumed(latents(seed=seed))
    assert torch.equal(original.codebook, resumed.codebook)


def test_fewer_latents_than_codes_still_start() -> None:
    quantizer = bound(codebook_size=32)
    quantizer(latents(batch=1))
    assert torch.isfinite(quantizer.codebook).all()


def test_cosine_codes_are_the_directions_of_moving_averages() -> None:
    quantizer = VectorQuantizer(codebook_size=8, decay=0.9, revive_below=0.0, similarity=Cosine())
    quantizer.bind(3, (2, 5))
    torch.testing.assert_close(quantizer.codebook.norm(dim=-1), torch.ones(8))
    unit_TC = torch.nn.functional.normalize(flat(latents(seed=1)), dim=-1)
    quantizer.start(flat(latents(seed=1)))
    start_VC = quantizer.codebook.clone()
    assert ((start_VC @ unit_TC.T).max(-1).values > 1 - 1e-6).all()
    quantized = quantizer(latents(seed=1))
    nearest_T = (unit_TC @ start_VC.T).argmax(-1)
    assert torch.equal(quantized.tokens.flatten(), nearest_T)
    torch.testing.assert_close(flat(quantized.vectors), start_VC[nearest_T])
    for v in range(8):
        total_C = 0.9 * 5 * start_VC[v] + 0.1 * unit_TC[nearest_T == v].sum(0)
        torch.testing.assert_close(quantizer.codebook[v], total_C / total_C.norm())


def test_the_entropy_loss_has_its_gradient_though_the_codes_move_before_it_is_taken() -> None:
    quantizer = VectorQuantizer(codebook_size=8, commitment_weight=0.0, entropy=EntropyLoss(temperature=0.5))
    quantizer.bind(3, (2, 5))
    quantizer(latents(seed=1))
    z_BChw, codes_VC = latents().requires_grad_(), quantizer.codebook.clone()
    (given_BChw,) = torch.autograd.grad(quantizer(z_BChw).loss, z_BChw)
    assert not torch.equal(quantizer.codebook, codes_VC)
    expected = EntropyLoss(temperature=0.5)(torch.cdist(flat(z_BChw), codes_VC).square())[0]
    torch.testing.assert_close(given_BChw, torch.autograd.grad(expected, z_BChw)[0])


def test_no_optimizer_touches_the_codebook() -> None:
    assert split_by_decay(bound()) == ([], [])


def test_usage_and_perplexity_by_hand() -> None:
    counts = CodeCounts(Layout(((1, 1), (1, 2))), 4)
    counts.update(torch.tensor([[0, 0, 1]]))
    counts.update(torch.tensor([[3, 3, 3]]))
    counted_LV = counts.compute()
    assert counted_LV.tolist() == [[1, 0, 0, 1], [1, 1, 0, 2]]
    assert usage(counted_LV).tolist() == [0.5, 0.75]
    counted = torch.tensor([2, 1, 0, 1])
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    torch.testing.assert_close(perplexity(counted), torch.tensor(math.exp(entropy)))
    torch.testing.assert_close(perplexity(torch.ones(16)), torch.tensor(16.0))


@pytest.mark.parametrize(
    ("options", "key"),
    [({"codebook_size": 1}, "codebook_size"), ({"decay": 1.0}, "decay"), ({"revive_below": 2.0}, "revive_below")],
)
def test_impossible_options_are_refused(options: dict[str, float], key: str) -> None:
    with pytest.raises(ValueError, match=f"quantizer.{key}"):
        VectorQuantizer(**options)  # type: ignore[arg-type]
