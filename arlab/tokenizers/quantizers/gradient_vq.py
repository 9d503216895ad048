"""Vector quantisation with a codebook that is learned by gradient.

Letters: C vector width, V codebook size, T vectors quantised.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.ranges import require
from arlab.tokenizers.processes import world_size
from arlab.tokenizers.quantizers.batches import hits, pick
from arlab.tokenizers.quantizers.counting import CountingCodebook
from arlab.tokenizers.quantizers.entropy import EntropyLoss
from arlab.tokenizers.quantizers.nearest import Nearest, check_table
from arlab.tokenizers.quantizers.passage import GradientPassage, StraightThrough
from arlab.tokenizers.quantizers.quantizer import Coded
from arlab.tokenizers.quantizers.similarity import Euclidean, Similarity


class GradientVectorQuantizer(CountingCodebook):
    """Each latent becomes its nearest code; the codes are parameters, drawn to their latents by a loss.

    id = argmin_v |z - e_v|;  loss = codebook_weight · mean (e - sg(z))² + commitment_weight · mean (z - sg(e))²
    + entropy loss, and the decoder's gradient passes to z as ``passage`` says, never to the codes.

    The published tokenizers' way: Euclidean for MaskGIT and VAR; ``similarity: Cosine`` for LlamaGen and FlexVAR.
    They begin from uniform numbers in ±1 / V and revive nothing: ``start_from_data: false, revive_below: 0``.

    Revival counts the uses of codes by moving averages; before a training batch, codes used less than
    ``revive_below`` times the average become latents of the batch. Weight decay leaves the codebook alone; every
    random choice is a function of (seed, step). In distributed training the counts are those of all processes.

    Neural Discrete Representation Learning, arXiv 1711.00937.

    Args:
        codebook_size: V.
        codebook_weight: how strongly codes are drawn to their latents.
        commitment_weight: how strongly latents are drawn to their codes.
        similarity: how latents and codes are compared; none: Euclidean.
        passage: how the decoder's gradient passes to the latents; none: StraightThrough.
        entropy: a loss for sure and varied choices; none: there is none.
        start_from_data: whether the codes start from latents of the first training batch.
        revive_below: in units of the average use of a code; 0 revives none.
        decay: of the moving averages of use, per training batch.
        seed: of initial and revived codes.
    """

    no_weight_decay = True
    counted_by = ("step", "due")
    count: Tensor
    due: bool = True

    def __init__(
        self,
        *,
        codebook_size: int = 512,
        codebook_weight: float = 1.0,
        commitment_weight: float = 0.25,
        similarity: Similarity | None = None,
        passage: GradientPassage | None = None,
        entropy: EntropyLoss | None = None,
        start_from_data: bool = True,
        revive_below: float = 0.03,
        decay: float = 0.99,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_table(codebook_size=codebook_size, commitment_weight=commitment_weight)
        require("quantizer.codebook_weight", codebook_weight, above=0)
        require("quantizer.revive_below", revive_below, at_least=0, below=1)
        require("quantizer.decay", decay, at_least=0, below=1)
        self.codebook_size = codebook_size
        self.start_from_data = start_from_data
        self.revive_below = revive_below
        self.decay = decay
        self.seed = seed
        self.similarity = Euclidean() if similarity is None else similarity
        self.passage = StraightThrough() if passage is None else passage
        self._nearest = Nearest(self.similarity, self.passage, entropy, commitment_weight, codebook_weight)

    def extra_repr(self) -> str:
        return f"codebook_size={self.codebook_size}, revive_below={self.revive_below}"

    def create(self, width: int) -> None:
        drawn_VC = torch.rand(self.codebook_size, width, generator=torch.Generator().manual_seed(self.seed))
        self.codebook = nn.Parameter(self.similarity.place((2 * drawn_VC - 1) / self.codebook_size))
        self.register_buffer("count", torch.zeros(self.codebook_size))
        self.step = 0
        self.due = True

    def lookup(self, ids: Tensor) -> Tensor:
        return self.similarity.place(F.embedding(ids, self.codebook))

    def quantise(self, z_TC: Tensor) -> Coded:
        return self._nearest.code(z_TC, self.codebook, training=self.training)

    @property
    def waits(self) -> bool:
        return self.due and (self.revive_below > 0 or self.step == 0)

    @torch.no_grad()
    def start(self, z_TC: Tensor) -> None:
        """The codes of the first batch, and revival before later ones: once a batch, before its gradient needs them."""
        self.due = False
        first = self.step == 0
        replaced_V = torch.full_like(self.count, self.start_from_data, dtype=torch.bool) if first else self._dead()
        picked_VC = pick(self.similarity.place(z_TC), self.codebook_size, self.seed, self.step)
        self.codebook.copy_(torch.where(replaced_V[:, None], picked_VC, self.codebook))
        if self.codebook.grad is not None:
            # Accumulated for codes that are no more.
            self.codebook.grad.masked_fill_(replaced_V[:, None], 0)
        if first:
            self.count.fill_(len(z_TC) * world_size() / self.codebook_size)
        else:
            self.count.copy_(torch.where(replaced_V, self.count.mean(), self.count))

    @torch.no_grad()
    def update(self, z_TC: Tensor, ids_T: Tensor) -> Mapping[str, Tensor]:
        self.count.lerp_(hits(ids_T, self.codebook_size, self.count.dtype), 1 - self.decay)
        self.step += 1
        self.due = True
        return {"revived": self._dead().sum().to(z_TC.dtype)}

    def _dead(self) -> Tensor:
        return self.count < self.revive_below * self.count.mean()
