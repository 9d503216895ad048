"""The names of weights in VAR's blocks, which FlexVAR shares: two of them, of two heads."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK = (
    *("attn.scale_mul_1H11", "attn.q_bias", "attn.v_bias", "attn.mat_qkv.weight", "attn.proj.weight", "attn.proj.bias"),
    *("ffn.fc1.weight", "ffn.fc1.bias", "ffn.fc2.weight", "ffn.fc2.bias", "ada_lin.1.weight", "ada_lin.1.bias"),
)
BLOCKS = tuple(f"blocks.{layer}.{name}" for layer in range(2) for name in _BLOCK)
"""In the order in which the published module lists them."""


def loaded_blocks(old: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights under our names and in our shapes."""
    new: dict[str, Tensor] = {}
    for layer in range(2):
        theirs, block = f"blocks.{layer}.", f"backbone.blocks.{layer}."
        q_bias, v_bias = old[theirs + "attn.q_bias"], old[theirs + "attn.v_bias"]
        new |= {
            block + "attention.qkv.weight": old[theirs + "attn.mat_qkv.weight"],
            block + "attention.qkv.bias": torch.cat((q_bias, torch.zeros_like(q_bias), v_bias)),
            block + "attention.qk_norm.log_scale_H": old[theirs + "attn.scale_mul_1H11"].flatten(),
        }
        for name in ("weight", "bias"):
            new |= {
                f"{block}attention.out.{name}": old[f"{theirs}attn.proj.{name}"],
                f"{block}feed_forward.fc1.{name}": old[f"{theirs}ffn.fc1.{name}"],
                f"{block}feed_forward.fc2.{name}": old[f"{theirs}ffn.fc2.{name}"],
                f"backbone.conditioning.blocks.{layer}.{name}": old[f"{theirs}ada_lin.1.{name}"],
            }
    return new


def published_blocks(held: dict[str, Tensor]) -> dict[str, Tensor]:
    """What our parameters hold (weights, gradients) under the published names and shapes."""
    found: dict[str, Tensor] = {}
    for layer in range(2):
        theirs, block = f"blocks.{layer}.", f"backbone.blocks.{layer}."
        q_bias, _, v_bias = held[block + "attention.qkv.bias"].chunk(3)
        found |= {
            theirs + "attn.mat_qkv.weight": held[block + "attention.qkv.weight"],
            theirs + "attn.q_bias": q_bias,
            theirs + "attn.v_bias": v_bias,
            theirs + "attn.scale_mul_1H11": held[block + "attention.qk_norm.log_scale_H"].reshape(1, 2, 1, 1),
        }
        for name in ("weight", "bias"):
            found |= {
                f"{theirs}attn.proj.{name}": held[f"{block}attention.out.{name}"],
                f"{theirs}ffn.fc1.{name}": held[f"{block}feed_forward.fc1.{name}"],
                f"{theirs}ffn.fc2.{name}": held[f"{block}feed_forward.fc2.{name}"],
                f"{theirs}ada_lin.1.{name}": held[f"backbone.conditioning.blocks.{layer}.{name}"],
            }
    return found
