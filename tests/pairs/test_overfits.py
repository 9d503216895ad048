"""Every pair learns one batch by heart: with the same noise, times and orders in each step
its loss falls to a quarter.

The loss of codes, and that of noise to be taken away, cannot be less than zero. A density's can: it is counted from
that of a Gaussian around each true number whose deviation is a tenth of that of the numbers themselves.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from arlab.conformance.pairs import Tried
from arlab.generators.generator import Generator
from arlab.heads.head import Head
from arlab.rng import BatchRng
from tests.pairs.tiny_pairs import WORKING, batch, named, tiny_pair

STEPS = 300
NARROW = 0.1
LEFT = 0.25


def floor(generator: Generator, tokens: Tensor) -> float:
    """The least loss that is asked for, in nats per token where it is a density's."""
    is_density = type(generator.head).log_prob is not Head.log_prob and not generator.tokenizer.space.discrete
    if not is_density:
        return 0.0
    deviation = float(tokens.std()) * NARROW
    return tokens.shape[-1] * (0.5 * math.log(2 * math.pi * math.e) + math.log(deviation))


@pytest.mark.slow
@pytest.mark.parametrize("cell", WORKING, ids=named)
def test_a_pair_learns_a_batch_by_heart(cell: Tried) -> None:
    generator = tiny_pair(cell, width=32, learning_rate=3e-3).train()
    images = batch()
    with torch.no_grad():
        tokens = generator.tokenizer.encode(images.image)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=3e-3, weight_decay=0.0)
    least, first, loss = floor(generator, tokens), math.inf, math.inf
    for step in range(STEPS):
        mean = generator.objective.loss(generator, tokens, images.label, BatchRng(3, len(tokens)), generator.layout)
        loss = mean.item()
        first = loss if step == 0 else first
        if loss - least <= LEFT * (first - least):
            return
        optimizer.zero_grad()
        mean.backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimizer.step()
    pytest.fail(f"the loss fell from {first:.3f} to {loss:.3f} only, of {least:.3f}")
