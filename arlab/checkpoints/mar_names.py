"""Names that MAR, FlowAR and xAR share: two stages of blocks with a linear map between them, and tables of places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch.nn import functional as F

from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.checkpoints.names import BOTH, Rule, renamed

ATTENTION = {"attn.qkv": "attention.qkv", "attn.proj": "attention.out"}
TIME = {"time_embed.mlp.0": "time.mlp.0", "time_embed.mlp.2": "time.mlp.2"}

_NORMS = {"z_proj_ln": "backbone.in_norm", "encoder_norm": "backbone.encoder_norm", "decoder_norm": "backbone.norms.0"}


def stage_names(backbone: EncoderDecoder, block: Mapping[str, str], norms: Sequence[str]) -> Iterator[Rule]:
    """Rules of both stages.

    Args:
        backbone: ours.
        block: their names within a block, and ours; with weights and biases.
        norms: what the norms around the stages have.
    """
    yield from renamed(_NORMS, norms)
    yield from renamed({"decoder_embed": "backbone.between"}, BOTH)
    for name in blocks_of(backbone):
        yield from renamed({f"{name}.{theirs}": f"backbone.{name}.{ours}" for theirs, ours in block.items()}, BOTH)


def blocks_of(backbone: EncoderDecoder) -> list[str]:
    """What the blocks of both stages are called, here as there."""
    depths = {"encoder": backbone.num_encoder_layers, "decoder": backbone.num_decoder_layers}
    return [f"{stage}_blocks.{layer}" for stage, depth in depths.items() for layer in range(depth)]


def of_tokens(theirs: str, ours: str, num_condition: int) -> Rule:
    """A table of places that is published for tokens alone; nothing looks at those of condition slots behind them."""
    return Rule(
        (theirs,),
        (ours,),
        lambda value: (F.pad(value[0], (0, 0, 0, num_condition)),),
        lambda table: (table[None, : len(table) - num_condition],),
    )
