"""How measurements handle a generator: its mode, the tokens of a batch, the machine it runs on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from arlab.data.data import Batch
from arlab.generators.generator import Generator
from arlab.orderings.step import Layout


@contextmanager
def in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """In training mode or not meanwhile, and every part of it as it was afterwards."""
    modes = [(each, each.training) for each in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for each, before in modes:
            each.training = before


def tokens_of(generator: Generator, batch: Batch, layout: Layout | None = None) -> Tensor:
    """The tokens of a batch as the ordering wants them, (B, N) or (B, N, C), on the generator's device."""
    tokenizer = generator.tokenizer if layout is None else generator.tokenizer.at(layout)
    if batch.tokens is not None:
        return tokenizer.split(batch.tokens.to(generator.device))
    return tokenizer.encode(batch.image.to(generator.device))


def machine_name(device: torch.device) -> str:
    """What speed depends on, in words."""
    told = None if device.type == "cpu" else getattr(torch.get_device_module(device), "get_device_name", None)
    name = platform.machine() if told is None else told(device)
    return f"{name}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
