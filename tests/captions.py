"""Files of prompts with embeddings that no encoder made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor


def write_prompts(path: Path, prompts: Sequence[str], embedding_KPC: Tensor, valid_KP: Tensor) -> str:
    """Write a file of prompts."""
    tensors = {"embedding": embedding_KPC.contiguous(), "valid": valid_KP.contiguous()}
    save_file(tensors, path, metadata={"prompts": json.dumps(list(prompts))})
    return str(path)


def random_prompts(path: Path, prompts: Sequence[str], *, tokens: int = 5, numbers: int = 7, seed: int = 0) -> str:
    """Write a file of prompts of random lengths with random embeddings, padded on the left."""
    rng = torch.Generator().manual_seed(seed)
    lengths_K1 = torch.randint(1, tokens + 1, (len(prompts), 1), generator=rng)
    valid_KP = torch.arange(tokens) >= tokens - lengths_K1
    embedding_KPC = torch.randn(len(prompts), tokens, numbers, generator=rng) * valid_KP[..., None]
    return write_prompts(path, prompts, embedding_KPC, valid_KP)
