"""Vector quantisation with a codebook that follows the latents by moving averages.

Letters: C vector width, V codebook size, T vectors quantised.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.ranges import require
from arlab.tokenizers.processes import summed, world_size
from arlab.tokenizers.quantizers.batches import hits, pick
from arlab.tokenizers.quantizers.counting import CountingCodebook
from arlab.tokenizers.quantizers.entropy import EntropyLoss
from arlab.tokenizers.quantizers.nearest import Nearest, check_table
from arlab.tokenizers.quantizers.passage import GradientPassage, StraightThrough
from arlab.tokenizers.quantizers.quantizer import Coded
from arlab.tokenizers.quantizers.similarity import Euclidean, Similarity

_FORGOTTEN = 1e-8


class VectorQuantizer(CountingCodebook):
    """Each latent becomes its nearest code; a code is the moving average of the latents it was nearest to.

    id = argmin_v |z - e_v|;  n_v ← d n_v + (1 - d) #v;  s_v ← d s_v + (1 - d) Σ_{id = v} z;  e_v = s_v / n_v;
    loss = commitment_weight · mean (z - sg(e))² + entropy loss, and the decoder's gradient passes straight through
    to z, or as ``passage`` says.

    With ``similarity: Cosine`` z is a unit vector and e_v = s_v / |s_v|: the unit vector whose mean cosine with the
    latents averaged in s_v is largest.

    The codebook starts from latents of the first training batch. A code used less than ``revive_below`` times the
    average is replaced by a latent of the batch. It lies in buffers, so no optimizer ever touches it; every random
    choice is a function of (seed, step), so a resumed run makes the same ones. In distributed training the counts
    and sums are those of all processes.

    Neural Discrete Representation Learning, arXiv 1711.00937 (moving averages: appendix A.1).

    Args:
        codebook_size: V.
        decay: d, per training batch.
        commitment_weight: how strongly latents are drawn to their codes.
        revive_below: in units of the average use of a code; 0 revives none.
        seed: of initial and revived codes.
        similarity: how latents and codes are compared; none: Euclidean.
        passage: how the decoder's gradient passes to the latents; none: StraightThrough.
        entropy: a loss for sure and varied choices; none: there is none.
    """

    codebook: Tensor
    count: Tensor
    total: Tensor

    def __init__(
        self,
        *,
        codebook_size: int = 512,
        decay: float = 0.99,
        commitment_weight: float = 0.25,
        revive_below: float = 0.03,
        seed: int = 0,
        similarity: Similarity | None = None,
        passage: GradientPassage | None = None,
        entropy: EntropyLoss | None = None,
    ) -> None:
        super().__init__()
        check_table(codebook_size=codebook_size, commitment_weight=commitment_weight)
        require("quantizer.decay", decay, at_least=0, below=1)
        require("quantizer.revive_below", revive_below, at_least=0, below=1)
        self.codebook_size = codebook_size
        self.decay = decay
        self.revive_below = revive_below
        self.seed = seed
        self.similarity = Euclidean() if similarity is None else similarity
        self.passage = StraightThrough() if passage is None else passage
        self.entropy = entropy
        self._nearest = Nearest(self.similarity, self.passage, entropy, commitment_weight)

    def extra_repr(self) -> str:
        return f"codebook_size={self.codebook_size}, decay={self.decay}, revive_below={self.revive_below}"

    def create(self, width: int) -> None:
        drawn_VC = torch.randn(self.codebook_size, width, generator=torch.Generator().manual_seed(self.seed))
        codebook_VC = self.similarity.place(drawn_VC)
        self.register_buffer("codebook", codebook_VC)
        self.register_buffer("count", torch.ones(self.codebook_size))
        self.register_buffer("total", codebook_VC.clone())
        self.step = 0

    def lookup(self, ids: Tensor) -> Tensor:
        return self.similarity.place(F.embedding(ids, self.codebook))

    def quantise(self, z_TC: Tensor) -> Coded:
        # The entropy loss keeps the codes for its gradient, and ``update`` changes them before that is taken.
        codebook_VC = self.codebook if self.entropy is None else self.codebook.clone()
        return self._nearest.code(z_TC, codebook_VC, training=self.training)

    @property
    def waits(self) -> bool:
        return self.step == 0

    @torch.no_grad()
    def start(self, z_TC: Tensor) -> None:
        self.codebook.copy_(pick(self.similarity.place(z_TC), self.codebook_size, self.seed, 0))
        # Every code begins with the average use, so that none counts as dead before it had its chance.
        self.count.fill_(len(z_TC) * world_size() / self.codebook_size)
        self.total.copy_(self.codebook * self.count[:, None])

    @torch.no_grad()
    def update(self, z_TC: Tensor, ids_T: Tensor) -> Mapping[str, Tensor]:
        """One step of the moving averages, then revival."""
        z_TC = self.similarity.place(z_TC)
        seen_V = hits(ids_T, self.codebook_size, z_TC.dtype)
        sum_VC = summed(torch.zeros_like(self.total).index_add_(0, ids_T, z_TC))
        self.step += 1
        self.count.lerp_(seen_V, 1 - self.decay)
        self.total.lerp_(sum_VC, 1 - self.decay)
        revived = self._revive(z_TC) if self.revive_below > 0 else self.count.new_zeros(())
        # What nothing has hit for thousands of steps stays where it is: the average of nothing is no place.
        moved_VC = self.similarity.place(self.total / self.count.clamp(min=_FORGOTTEN)[:, None])
        self.codebook.copy_(torch.where(self.count[:, None] > _FORGOTTEN, moved_VC, self.codebook))
        return {"revived": revived}

    def _revive(self, z_TC: Tensor) -> Tensor:
        """Replace dead codes by latents of the batch; returns how many."""
        average = self.count.mean()
        dead_V = self.count < self.revive_below * average
        picked_VC = pick(z_TC, self.codebook_size, self.seed, self.step)
        self.total.copy_(torch.where(dead_V[:, None], picked_VC * average, self.total))
        self.count.copy_(torch.where(dead_V, average, self.count))
        return dead_V.sum().to(z_TC.dtype)
