"""Vector quantisation with a codebook that follows the latents by moving averages.

Letters: C vector width, V codebook size, T vectors quantised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from arlab.rng import mix_seed
from arlab.tokenizers.quantizers.quantizer import Codebook, Coded


class VectorQuantizer(Codebook):
    """Each latent becomes its nearest code; a code is the moving average of the latents it was nearest to.

    id = argmin_v |z - e_v|;  n_v ← d n_v + (1 - d) #v;  s_v ← d s_v + (1 - d) Σ_{id = v} z;  e_v = s_v / n_v;
    loss = commitment_weight · mean (z - sg(e))², and the decoder's gradient passes straight through to z.

    The codebook starts from latents of the first training batch. A code used less than ``revive_below`` times the
    average is replaced by a latent of the batch. It lies in buffers, so no optimizer ever touches it; every random
    choice is a function of (seed, step), so a resumed run makes the same ones. In distributed training the counts
    and sums are those of all processes.

    Neural Discrete Representation Learning, arXiv 1711.00937 (moving averages: appendix A.1).

    Args:
        codebook_size: V.
        decay: d, per training step.
        commitment_weight: how strongly latents are drawn to their codes.
        revive_below: in units of the average use of a code; 0 revives none.
        seed: of initial and revived codes.
    """

    codebook: Tensor
    count: Tensor
    total: Tensor
    step: Tensor

    def __init__(
        self,
        *,
        codebook_size: int = 512,
        decay: float = 0.99,
        commitment_weight: float = 0.25,
        revive_below: float = 0.03,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if codebook_size < 2:
            raise ValueError(f"quantizer.codebook_size: must be at least 2, got {codebook_size}")
        if not 0 <= decay < 1:
            raise ValueError(f"quantizer.decay: must be in [0, 1), got {decay}")
        if not 0 <= commitment_weight < math.inf:
            raise ValueError(f"quantizer.commitment_weight: must be at least 0, got {commitment_weight}")
        if not 0 <= revive_below < 1:
            raise ValueError(f"quantizer.revive_below: must be in [0, 1), got {revive_below}")
        self.codebook_size = codebook_size
        self.decay = decay
        self.commitment_weight = commitment_weight
        self.revive_below = revive_below
        self.seed = seed

    def extra_repr(self) -> str:
        return f"codebook_size={self.codebook_size}, decay={self.decay}, revive_below={self.revive_below}"

    def create(self, width: int) -> None:
        codebook_VC = torch.randn(self.codebook_size, width, generator=torch.Generator().manual_seed(self.seed))
        self.register_buffer("codebook", codebook_VC)
        self.register_buffer("count", torch.ones(self.codebook_size))
        self.register_buffer("total", codebook_VC.clone())
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def lookup(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.codebook)

    def quantise(self, z_TC: Tensor) -> Coded:
        ids_T = self.nearest(z_TC.detach())
        code_TC = self.lookup(ids_T)
        loss = self.commitment_weight * F.mse_loss(z_TC, code_TC)
        straight_TC = z_TC + (code_TC - z_TC).detach()
        return Coded(ids_T, straight_TC, code_TC, loss, loss.new_zeros(()))

    def nearest(self, z_TC: Tensor) -> Tensor:
        """argmin_v |z - e_v|² = argmin_v |e_v|² - 2 z · e_v, shape (T,)."""
        distance_TV = torch.addmm(self.codebook.square().sum(-1), z_TC, self.codebook.T, alpha=-2)
        return distance_TV.argmin(-1)

    @torch.no_grad()
    def start(self, z_TC: Tensor) -> None:
        if int(self.step) > 0:
            return
        self.codebook.copy_(self._pick(z_TC))
        # Every code begins with the average use, so that none counts as dead before it had its chance.
        self.count.fill_(len(z_TC) * _world_size() / self.codebook_size)
        self.total.copy_(self.codebook * self.count[:, None])

    @torch.no_grad()
    def update(self, z_TC: Tensor, ids_T: Tensor) -> Mapping[str, Tensor]:
        """One step of the moving averages, then revival."""
        seen_V = torch.bincount(ids_T, minlength=self.codebook_size).to(z_TC.dtype)
        sum_VC = torch.zeros_like(self.total).index_add_(0, ids_T, z_TC)
        if _world_size() > 1:
            dist.all_reduce(seen_V)
            dist.all_reduce(sum_VC)
        self.step += 1
        self.count.lerp_(seen_V, 1 - self.decay)
        self.total.lerp_(sum_VC, 1 - self.decay)
        average = self.count.mean()
        dead_V = self.count < self.revive_below * average
        self.total.copy_(torch.where(dead_V[:, None], self._pick(z_TC) * average, self.total))
        self.count.copy_(torch.where(dead_V, average, self.count))
        self.codebook.copy_(self.total / self.count.clamp(min=1e-8)[:, None])
        return {"revived": dead_V.sum().to(z_TC.dtype)}

    def _pick(self, z_TC: Tensor) -> Tensor:
        """V latents of this batch, different ones where there are enough; the first process's on all of them."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, int(self.step)))
        rows = torch.randperm(len(z_TC), generator=generator)
        rows = rows.repeat(-(-self.codebook_size // len(rows)))[: self.codebook_size]
        picked_VC = z_TC[rows.to(z_TC.device)]
        if _world_size() > 1:
            dist.broadcast(picked_VC, src=0)
        return picked_VC


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
