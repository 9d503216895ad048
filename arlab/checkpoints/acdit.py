"""ACDiT (arXiv 2412.07720): block by block, each out of noise behind clean blocks, of which nothing is modulated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Self, cast

import torch

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP
from arlab.backbones.mixed_axes import MixedAxes
from arlab.backbones.noised_modulation import NoisedOnly
from arlab.backbones.norms import NoQKNorm, NormedQK, RMSNorm
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.acdit_args import told_by
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.names import BOTH, Names, Rule, constant, renamed, reordered
from arlab.checkpoints.sd_kl import SDKL, DeprecatedDiffusersKL, DiffusersKL
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import ratio_of
from arlab.configurable import from_spec
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_samplers import DPMSolver2M
from arlab.heads.diffusion_targets import PredictsNoise
from arlab.heads.diffusion_variances import SmallVariance
from arlab.heads.noise_schedules import LinearSchedule
from arlab.orderings.entities import Cells
from arlab.orderings.next_block import NextBlock
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer

_BLOCK = {
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "mlp.fc1": "feed_forward.fc1",
    "mlp.fc2": "feed_forward.fc2",
}
_NORMS = {"norm1": "attention_norm", "norm2": "feed_forward_norm"}
_QK_NORMS = {"attn.q_norm": "attention.qk_norm.q_norm", "attn.k_norm": "attention.qk_norm.k_norm"}
_Q_NORM = "blocks.0.attn.q_norm.weight"
# The width of a head, for which the published rotary positions are made.
_HEAD_WIDTH = 64
# Published as shift, scale, gate of attention, then of the MLP; ours are gates, scales, shifts.
_SIX = (2, 5, 1, 4, 0, 3)
# Published as shift, scale; ours are scale, shift.
_TWO = (1, 0)
# Of 256 pixels, in four blocks.
_RELEASED: Mapping[str, object] = {"grid": [32, 32], "block": [16, 16]}


class ACDiT(GeneratorFamily):
    """ACDiT of images, on latents of one vector a place. Files of its training tell grid, block and split in ``args``.

    ACDiT: Interpolating Autoregressive Conditional Modeling and Diffusion Transformer (ACDiT), arXiv 2412.07720.

    Args:
        grid: tokens along height and width.
        block: tokens of a block along height and width.
        nd_split: of a head's channels, what rows and columns have for their rotary positions, as [1,1]; by default what
            the file tells, or the same for both.
        num_steps: noise levels that are sampled through.
        norm_eps: added to mean squares.

    Raises:
        ValueError: an option is out of range.
    """

    marks = ("t_embedder.mlp.0.weight", "y_embedder.embedding_table.weight", "x_embedder.weight")
    tokenizers = (SDKL, DiffusersKL, DeprecatedDiffusersKL)
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"xl": _RELEASED, "h": _RELEASED}
    widths: ClassVar[Mapping[str, int]] = {"xl": 1152, "h": 1280}

    def __init__(
        self,
        *,
        grid: list[int] | None = None,
        block: list[int] | None = None,
        nd_split: tuple[int, ...] = (),
        num_steps: int = 25,
        norm_eps: float = 1e-6,
    ) -> None:
        if nd_split and len(nd_split) != 2:
            raise ValueError(f"nd_split: expected a number for rows and one for columns, got {list(nd_split)}")
        for share in nd_split:
            require("nd_split", share, at_least=1, at_most=_HEAD_WIDTH)
        require("num_steps", num_steps, at_least=1, at_most=LinearSchedule().num_train_steps)
        require("norm_eps", norm_eps, at_least=0)
        self.grid = grid
        self.block = block
        self.nd_split = nd_split
        self.num_steps = num_steps
        self.norm_eps = norm_eps

    def informed(self, args: Mapping[str, object]) -> Self:
        told = told_by(args)
        for key, value in told.items():
            given = getattr(self, key)
            if given and list(given) != value:
                raise ValueError(f"{key}: it was trained with {value}, got {list(given)}; leave it out")
        if not told:
            return self
        spec = self.spec()
        options = cast("Mapping[str, object]", spec["init_args"])
        return from_spec({**spec, "init_args": {**options, **told}}, type(self))

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return self.sides("grid", self.grid)

    def count_classes(self, shapes: Shapes) -> int:
        return shapes.size("y_embedder.embedding_table.weight") - 1

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        hidden, width = (shapes.size("blocks.0.mlp.fc1.weight", axis) for axis in (0, 1))
        fed = shapes.size("x_embedder.weight", 1)
        if fed != tokenizer.space.width:
            raise ValueError(
                f"x_embedder.weight takes {fed} numbers at a place, its tokenizer's vectors are of "
                f"{tokenizer.space.width}; only releases of patch_size 1 can be imported"
            )
        norm = RMSNorm(eps=self.norm_eps)
        head_width = shapes.size(_Q_NORM) if _Q_NORM in shapes else _HEAD_WIDTH
        shares = self.nd_split or (1, 1)
        if head_width % (2 * sum(shares)):
            raise ValueError(
                f"nd_split: a head of {head_width} channels cannot be shared out so, but a multiple of "
                f"{2 * sum(shares)}, got {list(shares)}"
            )
        backbone = Transformer(
            width=width,
            num_layers=shapes.count("blocks.{}.mlp.fc1.weight"),
            attention=Attention(
                num_heads=width // max(1, head_width),
                qk_norm=NormedQK(norm=norm) if _Q_NORM in shapes else NoQKNorm(),
                qkv_bias=True,
                out_bias=True,
            ),
            feed_forward=MLP(ratio=ratio_of(hidden, width)),
            norm=norm,
            rotary=MixedAxes(shares=list(self.nd_split) or None),
            modulation=NoisedOnly(),
        )
        head = DiffusionHead(
            denoiser=BackboneDenoiser(),
            schedule=LinearSchedule(),
            target=PredictsNoise(),
            variance=SmallVariance(),
            sampler=DPMSolver2M(),
            num_steps=self.num_steps,
        )
        block, grid = self.sides("block", self.block), self.token_grid(shapes)
        if grid[0] % block[0] or grid[1] % block[1]:
            raise ValueError(f"block: must divide a grid of {list(grid)}, got {list(block)}")
        return Generator(
            tokenizer=tokenizer,
            ordering=NextBlock(entities=Cells(shape=list(block))),
            backbone=backbone,
            head=head,
            conditioner=ClassLabel(num_slots=0),
            ema_decay=0,
        )

    def names(self, generator: Generator) -> Names:
        backbone = generator.backbone
        assert isinstance(backbone, Transformer)
        return Names(
            [
                *renamed({"y_embedder.embedding_table": "conditioner.embedding", "x_embedder": "head.input"}),
                # Published without.
                constant("head.input.bias", lambda: torch.zeros(backbone.width)),
                *renamed({"final_layer.norm_final": "backbone.norms.0"}),
                *renamed(
                    {
                        "t_embedder.mlp.0": "head.denoiser.time.mlp.0",
                        "t_embedder.mlp.2": "head.denoiser.time.mlp.2",
                        "final_layer.linear": "head.denoiser.outputs.0",
                    },
                    BOTH,
                ),
                *_adaln("final_layer", "final", _TWO),
                *_blocks(backbone),
            ]
        )


def _blocks(backbone: Transformer) -> Iterator[Rule]:
    norms = _NORMS | _QK_NORMS if isinstance(backbone.attention.qk_norm, NormedQK) else _NORMS
    for layer in range(backbone.num_layers):
        theirs, ours = f"blocks.{layer}", f"backbone.blocks.{layer}"
        for names, parts in ((_BLOCK, BOTH), (norms, ("weight",))):
            yield from renamed({f"{theirs}.{old}": f"{ours}.{new}" for old, new in names.items()}, parts)
        yield from _adaln(theirs, f"blocks.{layer}", _SIX)


def _adaln(theirs: str, ours: str, order: tuple[int, ...]) -> Iterator[Rule]:
    for part in BOTH:
        yield reordered(f"{theirs}.adaLN_modulation.1.{part}", f"backbone.conditioning.inner.{ours}.{part}", order)
