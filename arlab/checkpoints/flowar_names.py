"""Names of FlowAR's flow, a small transformer over the tokens of a scale."""

from __future__ import annotations

from collections.abc import Iterator

from arlab.checkpoints.gated_backbone import GATED
from arlab.checkpoints.mar_names import TIME
from arlab.checkpoints.names import BOTH, Rule, renamed
from arlab.heads.step_blocks import CrossBlock
from arlab.heads.step_transformer import StepTransformer

_NETWORK = TIME | {
    "cond_embed": "conditions.0",
    "input_proj": "input",
    "final_layer.adaLN_modulation.1": "modulation",
    "final_layer.linear": "output",
}
_BLOCK = {"attn.proj": "attention.out"} | {theirs: f"mlp.{ours}" for theirs, ours in GATED.items()}
_BLOCK_BARE = {"attn.qkv": "attention.qkv"}
_MODULATED = {"ada_lin": "modulation"}
_CROSS = {"crossattn.proj": "cross.out", "ada_lin_attn": "attention_modulation", "ada_lin_mlp": "mlp_modulation"}
_CROSS_BARE = {
    "crossattn.q": "cross.query",
    "crossattn.kv": "cross.key_value",
    "norm2_1": "norm",
    "norm2_2": "hidden_norm",
}


def flow_names(flow: StepTransformer) -> Iterator[Rule]:
    """Rules of the network; -L's and -H's attends to the backbone, -S's is modulated by it."""
    crosses = isinstance(flow.block, CrossBlock)
    whole, bare = _BLOCK | (_CROSS if crosses else _MODULATED), _BLOCK_BARE | (_CROSS_BARE if crosses else {})
    yield from renamed({f"flownet.{old}": f"head.denoiser.{new}" for old, new in _NETWORK.items()}, BOTH)
    for layer in range(flow.num_blocks):
        theirs, ours = f"flownet.res_blocks.{layer}", f"head.denoiser.blocks.{layer}"
        yield from renamed({f"{theirs}.{old}": f"{ours}.{new}" for old, new in whole.items()}, BOTH)
        yield from renamed({f"{theirs}.{old}": f"{ours}.{new}" for old, new in bare.items()})
