"""Two processes with half a batch each keep the codebook of one process with the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from arlab.tokenizers.quantizers.vq import VectorQuantizer


def trained(z_BChw: Tensor, revive_below: float) -> VectorQuantizer:
    quantizer = VectorQuantizer(codebook_size=8, decay=0.5, revive_below=revive_below)
    quantizer.bind(3, (2, 5))
    quantizer.step += 1  # started already: the first codes are those of the constructor
    quantizer(z_BChw)
    quantizer(z_BChw + 0.1)
    return quantizer


def latents() -> Tensor:
    return torch.randn(4, 3, 2, 5, generator=torch.Generator().manual_seed(0))


def process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    half = latents()[2 * rank : 2 * rank + 2]
    states = [trained(half, revive_below).state_dict() for revive_below in (0.0, 0.9)]
    torch.save(states, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_codebooks_agree(tmp_path: Path) -> None:
    multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    alone = trained(latents(), 0.0).state_dict()
    for key, value in alone.items():
        torch.testing.assert_close(first[0][key], value)
    for mine, theirs in zip(first, second, strict=True):  # with revival too, though only one has the latents it took
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
