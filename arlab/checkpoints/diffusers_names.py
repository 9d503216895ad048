"""How diffusers names the tensors of an autoencoder of LDM's make; those of attention are matrices."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor

from arlab.checkpoints.names import Rule, Tensors
from arlab.checkpoints.vqgan_names import Style, Substitution, autoencoder_names
from arlab.tokenizers.learned import LearnedTokenizer

_ATTENTION = re.compile(r"\.attentions\.\d+\..*\.weight$")


def _style(out: str, parts: tuple[str, str, str]) -> Style:
    substitutions: tuple[Substitution, ...] = (
        (r"\.norm_out\.", ".conv_norm_out."),
        (r"\.shortcut\.", ".conv_shortcut."),
        (r"(attention\d*)\.norm\.", r"\1.group_norm."),
        (r"(attention\d*)\.out\.", rf"\1.{out}."),
        (r"\.middle\.attention\.", ".mid_block.attentions.0."),
        (r"\.middle\.block(\d+)\.", r".mid_block.resnets.\1."),
        (r"^encoder\.level(\d+)\.", r"encoder.down_blocks.\1."),
        (r"^decoder\.level(\d+)\.", r"decoder.up_blocks.\1."),
        (r"\.block(\d+)\.", r".resnets.\1."),
        (r"\.attention(\d+)\.", r".attentions.\1."),
        (r"\.downsample\.", ".downsamplers.0."),
        (r"\.upsample\.", ".upsamplers.0."),
    )
    return Style(substitutions, backwards=True, parts=parts)


DIFFUSERS = _style("to_out.0", ("to_q", "to_k", "to_v"))
DEPRECATED = _style("proj_attn", ("query", "key", "value"))
"""As it was at first."""


def diffusers_names(tokenizer: LearnedTokenizer, style: Style) -> Iterator[Rule]:
    """The rules of a tokenizer's autoencoder; convolutions of one pixel are matrices in attention."""
    for rule in autoencoder_names(tokenizer, style):
        yield _matrices(rule) if _ATTENTION.search(rule.theirs[0]) and "norm" not in rule.theirs[0] else rule


def _matrices(rule: Rule) -> Rule:
    def to_ours(*matrices: Tensor) -> Tensors:
        return rule.to_ours(*(matrix[..., None, None] for matrix in matrices))

    def to_theirs(kernel: Tensor) -> Tensors:
        return tuple(value[..., 0, 0] for value in rule.to_theirs(kernel))

    return Rule(rule.theirs, rule.ours, to_ours, to_theirs)
