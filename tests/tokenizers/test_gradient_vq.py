"""Codebooks learned by gradient, against their formulas.

Letters: C vector width, h and w latent sides, V codebook size, T vectors.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.similarity import Angle, Cosine, Similarity


def bound(
    *, similarity: Similarity | None = None, start_from_data: bool = False, revive_below: float = 0.0
) -> GradientVectorQuantizer:
    quantizer = GradientVectorQuantizer(
        codebook_size=8,
        codebook_weight=2.0,
        commitment_weight=0.5,
        similarity=similarity,
        start_from_data=start_from_data,
        revive_below=revive_below,
        decay=0.5,
    )
    quantizer.bind(3, (2, 5))
    return quantizer


def latents(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 2, 5, generator=torch.Generator().manual_seed(seed))


def flat(z_BChw: Tensor) -> Tensor:
    return z_BChw.permute(0, 2, 3, 1).reshape(-1, z_BChw.shape[1])


def among(code_VC: Tensor, z_TC: Tensor) -> Tensor:
    """Whether each code is one of the latents."""
    return (code_VC[:, None] == z_TC).all(-1).any(-1)


def test_the_loss_and_both_its_gradients_by_hand() -> None:
    quantizer = bound()
    quantizer.codebook.data = torch.randn(8, 3)
    z_BChw = latents().requires_grad_()
    quantized = quantizer.eval()(z_BChw)
    ids_T = torch.cdist(flat(z_BChw), quantizer.codebook).argmin(-1)
    assert torch.equal(quantized.tokens.flatten(), ids_T)
    apart_TC = (flat(z_BChw) - quantizer.codebook[ids_T]).detach()
    torch.testing.assert_close(quantized.loss, 2.5 * apart_TC.square().mean())
    to_z, to_codes = torch.autograd.grad(quantized.loss, [z_BChw, quantizer.codebook])
    torch.testing.assert_close(flat(to_z), 0.5 * 2 * apart_TC / apart_TC.numel())
    expected_VC = torch.zeros(8, 3).index_add_(0, ids_T, 2.0 * -2 * apart_TC / apart_TC.numel())
    torch.testing.assert_close(to_codes, expected_VC)


def test_cosine_compares_directions_and_gives_unit_vectors() -> None:
    quantizer = bound(similarity=Cosine()).eval()
    quantizer.codebook.data = torch.randn(8, 3) * torch.rand(8, 1)
    z_BChw = latents()
    quantized = quantizer(z_BChw)
    cosine_TV = torch.cosine_similarity(flat(z_BChw)[:, None], quantizer.codebook[None], dim=-1)
    ids_T = quantized.tokens.flatten()
    assert torch.equal(ids_T, cosine_TV.argmax(-1))
    torch.testing.assert_close(flat(quantized.vectors), F.normalize(quantizer.codebook[ids_T], dim=-1))
    # |z' - e'|² = 2 - 2 cos, over three channels.
    chosen_T = cosine_TV.gather(1, ids_T[:, None])
    torch.testing.assert_close(quantized.loss, 2.5 * ((2 - 2 * chosen_T) / 3).mean())
    torch.testing.assert_close(quantizer(7 * z_BChw).vectors, quantized.vectors)


def test_angle_compares_directions_and_gives_codes_as_they_are() -> None:
    quantizer = bound(similarity=Angle()).eval()
    quantizer.codebook.data = torch.randn(8, 3) * torch.rand(8, 1)
    z_BChw = latents()
    quantized = quantizer(z_BChw)
    cosine_TV = torch.cosine_similarity(flat(z_BChw)[:, None], quantizer.codebook[None], dim=-1)
    ids_T = quantized.tokens.flatten()
    assert torch.equal(ids_T, cosine_TV.argmax(-1))
    torch.testing.assert_close(flat(quantized.vectors), quantizer.codebook[ids_T])
    apart_TC = flat(z_BChw) - quantizer.codebook[ids_T]
    torch.testing.assert_close(quantized.loss, 2.5 * apart_TC.square().mean())


def test_it_starts_as_published_or_from_the_data() -> None:
    assert 0 < bound().codebook.abs().max() <= 1 / 8
    cosine = bound(similarity=Cosine())
    torch.testing.assert_close(cosine.codebook.norm(dim=-1), torch.ones(8))
    before_VC = cosine.codebook.clone()
    cosine(latents())
    assert torch.equal(cosine.codebook, before_VC)
    from_data = bound(start_from_data=True)
    from_data(latents())
    assert among(from_data.codebook, flat(latents())).all()
    assert len(from_data.codebook.unique(dim=0)) == 8
    started_VC = from_data.codebook.clone()
    from_data(latents(1))
    assert torch.equal(from_data.codebook, started_VC)


def test_dead_codes_become_latents_before_the_next_step() -> None:
    quantizer = bound(start_from_data=True, revive_below=0.3)
    quantizer(latents())
    quantizer.codebook.data[2] = 1e3
    while not float(quantizer(latents(1)).figures["revived"]):
        torch.testing.assert_close(quantizer.codebook[2], torch.full((3,), 1e3))
    before_VC = quantizer.codebook.clone()
    z_BChw = latents(2)
    quantizer.start(flat(z_BChw))
    changed_V = (quantizer.codebook != before_VC).any(-1)
    assert changed_V[2]
    assert not changed_V.all()
    assert among(quantizer.codebook[changed_V], flat(z_BChw)).all()
    # Once a step, however many levels ask.
    revived_VC = quantizer.codebook.clone()
    quantizer.start(flat(latents(3)))
    assert torch.equal(quantizer.codebook, revived_VC)


def test_a_revival_does_not_disturb_gradients() -> None:
    """Nothing that backward needs is changed between forward and backward."""
    quantizer = bound(start_from_data=True, revive_below=0.9, similarity=Cosine())
    for seed in range(6):
        quantizer(latents(seed)).loss.backward()


def test_what_it_counts_is_in_its_state() -> None:
    """As scalars under the names that they have always had."""
    quantizer = bound(start_from_data=True)
    quantizer(latents())
    state = quantizer.state_dict()
    assert list(state) == ["codebook", "count", "step", "due"]
    assert torch.equal(state["step"], torch.tensor(1))
    assert torch.equal(state["due"], torch.tensor(True))
    resumed = bound(start_from_data=True)
    resumed.load_state_dict(state)
    assert (resumed.step, resumed.due) == (1, True)
    assert not resumed.waits
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"step\""):
        resumed.load_state_dict({key: value for key, value in state.items() if key != "step"})
