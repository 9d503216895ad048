"""MaskGIT as TiTok's code has it (arXiv 2406.07550): masks are filled in, the most confident first."""

from __future__ import annotations

import torch

from arlab.backbones.long_skips import LongSkips
from arlab.checkpoints.family import MOST_TOKENS, GeneratorFamily
from arlab.checkpoints.maskgit_makes import Bert, Make, UViT
from arlab.checkpoints.maskgit_vq import MaskGITVQ
from arlab.checkpoints.names import BOTH, Names, cut, renamed
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import grid_of, refuse_other_codes
from arlab.checkpoints.titok_vq import TiTokVQ
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.mask_ratios import ArccosRatio
from arlab.orderings.masked import Masked
from arlab.orderings.set_sizes import ArccosSizes
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer

_LABEL_SMOOTHING = 0.1
_UVIT, _BERT = UViT(), Bert()
_ANY = {"num_heads": 16, "rows": 1, "cosine": True}
PRESETS = {
    "l_32": {**_ANY, "num_tokens": 32, "num_steps": 8, "temperature": 9.5},
    "b_64": {**_ANY, "num_tokens": 64, "num_steps": 8, "temperature": 11.0},
    "s_128": {**_ANY, "num_tokens": 128, "num_steps": 64, "temperature": 2.8},
}


class MaskGIT(GeneratorFamily):
    """TiTok's generators, a BERT (L-32, B-64) or a U-ViT (S-128), on any tokenizer of codes.

    Their training also learns, with little weight, tokens that are not masked; ``Masked`` leaves these out.

    MaskGIT: Masked Generative Image Transformer, arXiv 2202.04200; An Image is Worth 32 Tokens for Reconstruction and
    Generation (TiTok), arXiv 2406.07550.

    Args:
        num_heads: of attention.
        rows: tokens along the height, 1 for TiTok's; 0: the grid is square.
        num_tokens: how many there are to be; 0: as many as there are.
        num_steps: in which all tokens become known.
        temperature: of the noise on confidences.
        norm_eps: added to variances; 0: as published, 1e-5 in a U-ViT and 1e-12 in a BERT.
    """

    marks = _UVIT.marks
    other_marks = (_BERT.marks,)
    # Numbers from 0 on, which other versions of the BERT's code write down.
    unused = (r"^model\.embeddings\.(position_ids|token_type_ids)$",)
    tokenizers = (MaskGITVQ, TiTokVQ)
    presets = PRESETS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        rows: int = 0,
        num_tokens: int = 0,
        num_steps: int = 8,
        temperature: float = 4.5,
        norm_eps: float = 0.0,
    ) -> None:
        if num_heads is not None:
            require("num_heads", num_heads, at_least=1)
        require("num_tokens", num_tokens, at_least=0)
        require("num_steps", num_steps, at_least=1, at_most=MOST_TOKENS)
        require("temperature", temperature, at_least=0)
        require("norm_eps", norm_eps, at_least=0)
        self.num_heads = num_heads
        self.rows = rows
        self.num_tokens = num_tokens
        self.num_steps = num_steps
        self.temperature = temperature
        self.norm_eps = norm_eps

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        # The first place is the condition's.
        number = shapes.size(*_make(shapes).places) - 1
        if self.num_tokens not in (0, number):
            raise ValueError(f"num_tokens: it has {number} tokens, not {self.num_tokens}; is the preset another's?")
        return grid_of(number, self.rows)

    def count_classes(self, shapes: Shapes) -> int:
        # Beside codes and classes there are a mask and 'no class'.
        make = _make(shapes)
        return shapes.size(make.table) - shapes.size(f"{make.output}.weight") - 2

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        make, num_heads = _make(shapes), self.need(self.num_heads)
        width = shapes.size(make.table, 1)
        if width % num_heads:
            raise ValueError(f"num_heads: {num_heads} heads do not divide its width {width}")
        refuse_other_codes(shapes.size(f"{make.output}.weight"), tokenizer)
        ordering = Masked(
            set_sizes=ArccosSizes(num_steps=self.num_steps),
            choice=ConfidenceChoice(temperature=self.temperature, by_logit=True, softened=True),
            mask_ratio=ArccosRatio(),
        )
        head = DiscreteHead(bias=True, label_smoothing=_LABEL_SMOOTHING)
        backbone = make.backbone(shapes, num_heads, self.norm_eps)
        return Generator(tokenizer=tokenizer, ordering=ordering, backbone=backbone, head=head, ema_decay=0)

    def names(self, generator: Generator) -> Names:
        backbone, space = generator.backbone, generator.tokenizer.space
        assert space.codebook_size is not None
        make = _UVIT if isinstance(backbone, LongSkips) else _BERT
        table = [
            ("head.embedding.weight", space.codebook_size),
            ("slot_embedding.learned_RD", 1),
            ("conditioner.embedding.weight", generator.facts.num_classes + 1),
        ]
        places = torch.arange(generator.layout.num_tokens + 1).roll(-1)
        return Names(
            [
                cut(make.table, table),
                *make.rules(backbone, places),
                *renamed({make.output: "head.outputs.0"}, BOTH),
            ]
        )


def _make(shapes: Shapes) -> Make:
    return _BERT if _BERT.table in shapes else _UVIT
