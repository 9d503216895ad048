"""A file of prompts and what a text encoder made of them, worked out beforehand.

Safetensors: ``embedding`` (K, P, C), ``valid`` (K, P), and in the metadata under ``prompts`` a JSON list of K prompts.

Letters: K prompts, P tokens of a prompt with its padding, C numbers a token.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

MOST_TOKENS = 2**12
MOST_NUMBERS = 2**14


@dataclass(frozen=True, eq=False)
class EmbeddedPrompts:
    """Prompts, embedded.

    Attributes:
        prompts: the K prompts.
        embedding_KPC: of their tokens, float32; zero where padded.
        valid_KP: False where a token is padding.
    """

    prompts: tuple[str, ...]
    embedding_KPC: Tensor
    valid_KP: Tensor


def prompts_in(file: str) -> tuple[str, ...]:
    """The prompts of a file, without what was made of them.

    Raises:
        ValueError: it cannot be read, or names no prompts.
    """
    with _opened(file) as held:
        return _prompts(file, held.metadata() or {})


def read_prompts(file: str) -> EmbeddedPrompts:
    """What a file holds.

    Raises:
        ValueError: it cannot be read, or something in it is missing, of another shape or of another kind.
    """
    with _opened(file) as held:
        prompts = _prompts(file, held.metadata() or {})
        for name in ("embedding", "valid"):
            if name not in held.keys():  # noqa: SIM118  (a file, no table)
                raise ValueError(f"{file}: has no tensor {name}")
        embedding_KPC, valid_KP = held.get_tensor("embedding"), held.get_tensor("valid")
    shape = tuple(embedding_KPC.shape)
    if len(shape) != 3 or shape[0] != len(prompts) or min(shape) < 1 or not embedding_KPC.is_floating_point():
        raise ValueError(
            f"{file}: embedding must be floating-point numbers of shape ({len(prompts)} prompts, tokens, numbers), got "
            f"{_kind(embedding_KPC)} {shape}"
        )
    if shape[1] > MOST_TOKENS or shape[2] > MOST_NUMBERS:
        raise ValueError(f"{file}: embedding has more than {MOST_TOKENS} tokens or {MOST_NUMBERS} numbers, got {shape}")
    if valid_KP.shape != shape[:2] or valid_KP.dtype not in (torch.bool, torch.uint8):
        raise ValueError(
            f"{file}: valid must be bool or uint8 of shape {shape[:2]}, got {_kind(valid_KP)} {tuple(valid_KP.shape)}"
        )
    valid_KP = valid_KP.bool()
    silent = (~valid_KP.any(1)).nonzero().flatten().tolist()
    if silent:
        raise ValueError(f"{file}: valid: nothing but padding of prompt {silent[0]}, {prompts[silent[0]]!r}")
    embedding_KPC = embedding_KPC.float().masked_fill(~valid_KP[..., None], 0)
    if not embedding_KPC.isfinite().all():
        raise ValueError(f"{file}: embedding holds numbers that are not finite")
    return EmbeddedPrompts(prompts, embedding_KPC, valid_KP)


@contextmanager
def _opened(file: str) -> Iterator[Any]:
    if not Path(file).is_file():
        raise ValueError(f"{file}: no such file")
    try:
        with safe_open(file, "pt") as held:
            yield held
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file}: not a readable safetensors file (cut off or damaged?)") from error


def _prompts(file: str, metadata: dict[str, str]) -> tuple[str, ...]:
    try:
        prompts = json.loads(metadata.get("prompts", "null"))
    except (json.JSONDecodeError, RecursionError):
        prompts = None
    if not isinstance(prompts, list) or not prompts or not all(isinstance(each, str) and each for each in prompts):
        raise ValueError(f"{file}: its metadata must have the prompts, a JSON list of texts, under 'prompts'")
    if len(set(prompts)) != len(prompts):
        twice = next(each for number, each in enumerate(prompts) if each in prompts[:number])
        raise ValueError(f"{file}: holds the prompt {twice!r} twice")
    return tuple(prompts)


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")
