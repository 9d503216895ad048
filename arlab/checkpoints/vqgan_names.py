"""Convolutional tokenizers of the VQGAN lineage: their published names, and what their tensors tell.

Ways of naming the same autoencoder are about: LDM's (VAR, MAR, Stable Diffusion), LlamaGen's, MaskGIT's, diffusers'.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from arlab.checkpoints.names import Rule, joined, same
from arlab.checkpoints.shapes import Shapes
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.vqgan_parts import AttentionLevels, LatentConvs

Substitution = tuple[str, str]
_OWN = "autoencoder."


@dataclass(frozen=True)
class Style:
    """One way of naming.

    Attributes:
        substitutions: regular expressions of our names and what they are called; all that match are applied, in order.
        backwards: the decoder's levels are counted from the lowest resolution up, in names with 'conv_blocks' or
            'up_blocks'.
        fused: queries, keys and values are published as one tensor, 'qkv'; otherwise as three.
        parts: what those three are called.
    """

    substitutions: tuple[Substitution, ...]
    backwards: bool = False
    fused: bool = False
    parts: tuple[str, str, str] = ("q", "k", "v")

    def named(self, ours: str, levels: int) -> str:
        """What our tensor is called in a model of so many levels."""
        name = ours
        for pattern, theirs in self.substitutions:
            name = re.sub(pattern, theirs, name)
        if self.backwards:
            name = re.sub(
                r"^decoder\.(conv_blocks|up_blocks)\.(\d+)",
                lambda at: f"decoder.{at[1]}.{levels - 1 - int(at[2])}",
                name,
            )
        return name


_PARTS = ((r"\.shortcut\.", ".nin_shortcut."), (r"(attention\d*)\.out\.", r"\1.proj_out."))
_LEVELS = (
    (r"^encoder\.level(\d+)\.", r"encoder.down.\1."),
    (r"^decoder\.level(\d+)\.", r"decoder.up.\1."),
    (r"\.block(\d+)\.", r".block.\1."),
    (r"\.attention(\d+)\.", r".attn.\1."),
)
LDM = Style(
    (
        *_PARTS,
        (r"\.middle\.block0\.", ".mid.block_1."),
        (r"\.middle\.block1\.", ".mid.block_2."),
        (r"\.middle\.attention\.", ".mid.attn_1."),
        *_LEVELS,
    )
)
MASKGIT = Style(
    (*_PARTS, (r"\.middle\.block(\d+)\.", r".mid.\1."), *_LEVELS, (r"\.upsample\.conv\.", ".upsample_conv."))
)
LLAMAGEN = Style(
    (
        *_PARTS,
        (r"\.middle\.block0\.", ".mid.0."),
        (r"\.middle\.attention\.", ".mid.1."),
        (r"\.middle\.block1\.", ".mid.2."),
        (r"\.level(\d+)\.", r".conv_blocks.\1."),
        (r"\.block(\d+)\.", r".res.\1."),
        (r"\.attention(\d+)\.", r".attn.\1."),
    ),
    backwards=True,
)


def autoencoder_names(tokenizer: LearnedTokenizer, style: Style) -> Iterator[Rule]:
    """The rules of a tokenizer's autoencoder."""
    ours = [name.removeprefix(_OWN) for name in tokenizer.state_dict() if name.startswith(_OWN)]
    levels = len({found[1] for name in ours if (found := re.match(r"encoder\.level(\d+)\.", name))})
    for name in ours:
        theirs = style.named(name, levels)
        if ".qkv." in theirs and not style.fused:
            yield joined([theirs.replace(".qkv.", f".{part}.") for part in style.parts], _OWN + name)
        else:
            yield same(theirs, _OWN + name)


def read_autoencoder(shapes: Shapes, style: Style, *, per_token: int = 1) -> dict[str, Any]:
    """What tensors tell of a ``VQGANAutoencoder``: its arguments but for those that leave no trace in shapes.

    Args:
        shapes: of the published tensors.
        style: how they are named.
        per_token: how many numbers the encoder gives for each of a token's (KL: 2).

    Raises:
        ValueError: a tensor is missing.
    """
    return _Reader(shapes, style, per_token).read()


class _Reader:
    def __init__(self, shapes: Shapes, style: Style, per_token: int) -> None:
        self.shapes, self.style, self.per_token = shapes, style, per_token
        self.levels = 1
        while self._has(f"encoder.level{self.levels}.block0.conv1.weight"):
            self.levels += 1

    def read(self) -> dict[str, Any]:
        """Constructor arguments."""
        channels = self.shapes.axes("encoder.conv_in.weight", 4)[0]
        quant = self.shapes.axes("quant_conv.weight", 4) if "quant_conv.weight" in self.shapes else None
        last = self.shapes.axes("encoder.conv_out.weight", 4)
        return {
            "channels": channels,
            "channel_multipliers": [self._width(level) // channels for level in range(self.levels)],
            "encoder_blocks": self._blocks("encoder"),
            "decoder_blocks": self._blocks("decoder"),
            "middle_blocks": self._count("encoder.middle.block{}.conv1.weight"),
            "attention": AttentionLevels(
                encoder=self._attention("encoder"),
                decoder=self._attention("decoder"),
                middle=self._has("encoder.middle.attention.norm.weight"),
            ),
            "latent": LatentConvs(
                z_channels=None if quant is None else last[0] // self.per_token,
                last_kernel=last[-1],
                quant_kernel=None if quant is None else quant[-1],
            ),
            "bias": "encoder.conv_in.bias" in self.shapes,
        }

    def _name(self, ours: str) -> str:
        return self.style.named(ours, self.levels)

    def _has(self, ours: str) -> bool:
        return self._name(ours) in self.shapes

    def _width(self, level: int) -> int:
        return self.shapes.axes(self._name(f"encoder.level{level}.block0.conv1.weight"), 4)[0]

    def _count(self, ours: str) -> int:
        number = 0
        while self._has(ours.format(number)):
            number += 1
        return number

    def _blocks(self, part: str) -> int:
        return self._count(f"{part}.level0.block{{}}.conv1.weight")

    def _attention(self, part: str) -> list[int]:
        return [level for level in range(self.levels) if self._has(f"{part}.level{level}.attention0.norm.weight")]


def shrinks(shapes: Shapes, style: Style) -> int:
    """Pixels along a side of a token: each level but the lowest halves."""
    return int(2 ** (_Reader(shapes, style, 1).levels - 1))
