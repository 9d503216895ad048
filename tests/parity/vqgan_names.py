"""Weights of released convolutional tokenizers under the names of ``VQGANAutoencoder``.

Each table holds patterns of published names and what stands for them here; all that match are applied, in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor, cat

Rule = tuple[str, str | Callable[[re.Match[str]], str]]

_PARTS: tuple[Rule, ...] = ((r"\.nin_shortcut\.", ".shortcut."), (r"\.proj_out\.", ".out."))
# VAR, MAR and all others that descend from LDM's code.
LDM: tuple[Rule, ...] = (
    *_PARTS,
    (r"\.(?:down|up)\.(\d+)\.block\.(\d+)\.", r".level\1.block\2."),
    (r"\.(?:down|up)\.(\d+)\.attn\.(\d+)\.", r".level\1.attention\2."),
    (r"\.(?:down|up)\.(\d+)\.(downsample|upsample)\.", r".level\1.\2."),
    (r"\.mid\.block_1\.", ".middle.block0."),
    (r"\.mid\.block_2\.", ".middle.block1."),
    (r"\.mid\.attn_1\.", ".middle.attention."),
)
MASKGIT: tuple[Rule, ...] = (
    (r"\.upsample_conv\.", ".upsample.conv."),
    *LDM,
    (r"\.mid\.(\d+)\.", r".middle.block\1."),
)


def llamagen(levels: int) -> tuple[Rule, ...]:
    """LlamaGen counts the decoder's levels from the lowest resolution up."""
    return (
        *_PARTS,
        (r"^decoder\.conv_blocks\.(\d+)\.", lambda found: f"decoder.level{levels - 1 - int(found[1])}."),
        (r"^encoder\.conv_blocks\.(\d+)\.", r"encoder.level\1."),
        (r"\.res\.(\d+)\.", r".block\1."),
        (r"\.attn\.(\d+)\.", r".attention\1."),
        (r"\.mid\.0\.", ".middle.block0."),
        (r"\.mid\.1\.", ".middle.attention."),
        (r"\.mid\.2\.", ".middle.block1."),
    )


def renamed(name: str, rules: tuple[Rule, ...]) -> str:
    """A published name as it is here, but for queries, keys and values of their own."""
    for pattern, here in rules:
        name = re.sub(pattern, here, name)
    return name


def translated(weights: Mapping[str, Tensor], rules: tuple[Rule, ...]) -> dict[str, Tensor]:
    """The autoencoder's weights; queries, keys and values in one where they are several."""
    autoencoder = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
    new = {renamed(name, rules): value for name, value in weights.items() if name.startswith(autoencoder)}
    for name in [name for name in new if ".q." in name]:
        new[name.replace(".q.", ".qkv.")] = cat([new.pop(name.replace(".q.", f".{part}.")) for part in "qkv"])
    return new


def gradient(name: str, gradients: Mapping[str, Tensor], rules: tuple[Rule, ...]) -> Tensor:
    """The gradient that goes by a published name."""
    here = renamed(name, rules)
    for row, part in enumerate("qkv"):
        if f".{part}." in here:
            return gradients[here.replace(f".{part}.", ".qkv.")].chunk(3)[row]
    return gradients[here]
