"""Two processes with half a batch each keep the codebook of one process with the whole batch.

Letters: B batch, C vector width, h and w latent sides.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.quantizer import Codebook
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from tests.tokenizers.codebooks import EVERY, WIDTH


def trained(z_BChw: Tensor, revive_below: float) -> VectorQuantizer:
    quantizer = VectorQuantizer(codebook_size=8, decay=0.5, revive_below=revive_below)
    quantizer.bind(WIDTH, (2, 5))
    quantizer.step += 1  # started already: the first codes are those of the constructor
    quantizer(z_BChw)
    quantizer(z_BChw + 0.1)
    return quantizer


class Around(nn.Module):
    """A layer, a codebook and a layer: what a tokenizer is."""

    def __init__(self, codebook: Codebook) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Conv2d(WIDTH, WIDTH, 1)
        self.codebook = codebook
        self.codebook.bind(WIDTH, (2, 5))
        self.decoder = nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, image_BChw: Tensor) -> Tensor:
        quantized = self.codebook(self.encoder(image_BChw))
        loss: Tensor = (self.decoder(quantized.vectors) - image_BChw).square().mean() + quantized.loss
        return loss


def plain(codebook: Codebook) -> Codebook:
    """The same without what depends on how the batch is divided: latents taken for codes are the first process's."""
    if isinstance(codebook, (VectorQuantizer, GradientVectorQuantizer)):
        codebook.revive_below = 0.0
    if isinstance(codebook, GradientVectorQuantizer):
        codebook.start_from_data = False
    return codebook


def stepped(model: nn.Module, codebook: Codebook, image_BChw: Tensor, *, from_data: bool) -> dict[str, Tensor]:
    """Weights and codes after a few steps."""
    if isinstance(codebook, VectorQuantizer) and not from_data:
        codebook.step += 1
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        model(image_BChw).backward()
        optimizer.step()
    return {key.removeprefix("module."): value for key, value in model.state_dict().items()}


def latents() -> Tensor:
    return torch.randn(4, WIDTH, 2, 5, generator=torch.Generator().manual_seed(0))


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    half = latents()[2 * rank : 2 * rank + 2]
    states = {f"{share}": dict(trained(half, share).state_dict()) for share in (0.0, 0.9)}
    for name, build in EVERY.items():
        for from_data in (True, False):
            inside = Around(build() if from_data else plain(build()))
            model = DistributedDataParallel(inside)
            states[f"{name} {from_data}"] = stepped(model, inside.codebook, half, from_data=from_data)
    torch.save(states, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_codebooks_agree(tmp_path: Path) -> None:
    multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert len(first) == 2 + 2 * len(EVERY)
    for name, mine in first.items():  # with revival too, though only one has the latents it took
        assert all(torch.equal(mine[key], second[name][key]) for key in mine), name
    alone = {"0.0": dict(trained(latents(), 0.0).state_dict())}
    for name, build in EVERY.items():
        model = Around(plain(build()))
        alone[f"{name} False"] = stepped(model, model.codebook, latents(), from_data=False)
    for name, state in alone.items():
        for key, value in state.items():
            torch.testing.assert_close(first[name][key], value, msg=lambda text, at=f"{name} {key}": f"{at}: {text}")
