"""Which codes the last training batches hit, and how often.

Letters: B batch, N tokens, L levels, V codebook size.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from arlab.orderings.step import Layout
from arlab.tokenizers.processes import summed, world_size
from arlab.tokenizers.quantizers.quantizer import perplexity


@dataclass(frozen=True)
class Hits:
    """What a window of batches says of a codebook, or of one level of it.

    Attributes:
        codes: V.
        vectors: how many were quantised in the window.
        hit: how many codes they hit.
        perplexity: of the codes' frequencies; batches before the window still count a little.
    """

    codes: int
    vectors: int
    hit: int
    perplexity: float

    @property
    def dead(self) -> int:
        """Codes that were not hit."""
        return self.codes - self.hit

    @property
    def expected(self) -> float:
        """The distinct codes that as many vectors hit if all are equally likely: V (1 - (1 - 1/V)^vectors)."""
        if self.codes == 1:
            return float(min(1, self.vectors))
        return -self.codes * math.expm1(self.vectors * math.log1p(-1 / self.codes))

    @property
    def share(self) -> float:
        """Codes hit, as a share of those that could be expected."""
        return self.hit / max(1.0, self.expected)

    @property
    def information(self) -> float:
        """ln(perplexity) as a share of what so many vectors and codes could have, in [0, 1]."""
        most = math.log(max(2.0, self.expected))
        return math.log(max(1.0, self.perplexity)) / most


class CodeWindow:
    """The last hit of each code and its recent frequency; a step costs two writes per token and waits for nothing.

    A code is dead when none of the last ``window`` batches hit it, exactly. Frequencies are of all batches, each
    weighing 1 + 1/window times the one before it.

    Args:
        layout: where the tokens lie.
        codebook_size: V.
        window: how many batches.
        shared: whether all levels have one codebook, or each its own.
    """

    def __init__(self, layout: Layout, codebook_size: int, window: int, *, shared: bool = True) -> None:
        self.layout = layout
        self.shared = shared
        self.window = window
        self.seen = 0
        self.images: deque[int] = deque(maxlen=window)
        shape = (len(layout.shapes), codebook_size)
        self.last_LV = torch.zeros(shape, dtype=torch.int32)
        self.recent_LV = torch.zeros(shape)
        self.weight = 1.0
        self.offset_N = codebook_size * layout.level_N

    @property
    def full(self) -> bool:
        """Whether there were as many batches as it looks back."""
        return self.seen >= self.window

    @torch.no_grad()
    def observe(self, tokens_BN: Tensor) -> None:
        """Take in the tokens of a batch."""
        if self.last_LV.device != tokens_BN.device:
            self.last_LV = self.last_LV.to(tokens_BN.device)
            self.recent_LV = self.recent_LV.to(tokens_BN.device)
            self.offset_N = self.offset_N.to(tokens_BN.device)
        self.seen += 1
        self.images.append(len(tokens_BN))
        flat = (tokens_BN + self.offset_N).flatten()
        self.last_LV.view(-1).index_fill_(0, flat, self.seen)
        # A new batch weighs more instead of all old ones less: one write per token, however large the codebook. And not
        # bincount, which asks an accelerator for the largest index.
        self.recent_LV.view(-1).index_add_(0, flat, torch.full_like(flat, self.weight, dtype=self.recent_LV.dtype))
        self.weight *= 1 + 1 / self.window
        if self.seen % self.window == 0:
            self.recent_LV.div_(self.weight)
            self.weight = 1.0

    def alive(self) -> Tensor:
        """Whether a batch of the window hit a code, (V,) bool; (L · V,) where each level has codes of its own."""
        alive_LV = self._alive_LV()
        return alive_LV.any(0) if self.shared else alive_LV.flatten()

    def _alive_LV(self) -> Tensor:
        return self.last_LV > max(0, self.seen - self.window)

    def gather(self) -> tuple[Hits, list[Hits]]:
        """All codes there are, and those of each level; of all processes, which must ask at the same time."""
        recent_LV, processes = self.recent_LV, 1
        # Where nothing was observed yet the counts may lie on a device that cannot be summed over processes.
        if world_size() > 1 and self.seen:
            processes = world_size()
            # Done to the window itself, so that it is the same everywhere: the latest of latest hits stays what it is.
            dist.all_reduce(self.last_LV, dist.ReduceOp.MAX)
            recent_LV = summed(recent_LV.clone())
        images = sum(self.images) * processes
        counts = recent_LV.sum(0) if self.shared else recent_LV.flatten()
        hit = torch.cat([self._alive_LV().sum(1), self.alive().sum()[None]]).double()
        spread = torch.cat([perplexity(recent_LV), perplexity(counts)[None]]).double()
        found, spreads = torch.stack([hit, spread]).tolist()
        vectors = [images * size for size in self.layout.sizes]
        codes = [recent_LV.shape[1]] * len(vectors)
        *levels, whole = (
            Hits(*row)
            for row in zip([*codes, len(counts)], [*vectors, sum(vectors)], map(int, found), spreads, strict=True)
        )
        return whole, levels

    def state_dict(self) -> dict[str, Any]:
        """Plain tensors."""
        return {
            "seen": self.seen,
            "images": torch.tensor(list(self.images), dtype=torch.int64),
            "last": self.last_LV.cpu().clone(),
            "recent": self.recent_LV.cpu().clone(),
            "weight": self.weight,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another one stood; nothing is taken from one of another codebook."""
        if state["last"].shape != self.last_LV.shape:
            return
        self.seen = int(state["seen"])
        self.images = deque(state["images"].tolist(), maxlen=self.window)
        self.last_LV, self.recent_LV = state["last"].clone(), state["recent"].clone()
        self.weight = float(state["weight"])
