"""What LlamaGen, NAR, PAR and RandAR share: a LlamaGen backbone that codes are fed to, one by one or many at a time."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self, cast

from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import GatedMLP
from arlab.backbones.norms import RMSNorm
from arlab.backbones.places import Places
from arlab.backbones.rotary import AxialRotary
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import GeneratorFamily, TokenizerFamily
from arlab.checkpoints.llama_names import CLASS_TABLE, CLASSES, TURNS, UNUSED, llama_names
from arlab.checkpoints.llama_turns import refuse_turns
from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.checkpoints.names import Names, Rule
from arlab.checkpoints.shapes import Shapes
from arlab.configurable import from_spec
from arlab.generators.conditioners import Conditioner
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.ordering import Ordering
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer

_MOST_BASE = 1e12
# While training; all of them were trained with it.
_DROPOUT = 0.1
# Of the sizes that the published code knows by name.
_HEADS = {"B": 12, "M": 16, "L": 16, "XL": 20, "XXL": 24, "XXXL": 40, "1B": 32, "3B": 32, "7B": 32}


class LlamaFamily(GeneratorFamily):
    """Generators with LlamaGen's backbone.

    Args:
        num_heads: of attention.
        grid: tokens along height and width.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.

    Raises:
        ValueError: an option is out of range.
    """

    unused = UNUSED
    tokenizers: ClassVar[tuple[type[TokenizerFamily], ...]] = (LlamaGenVQ,)

    def __init__(self, *, num_heads: int | None, grid: list[int] | None, rope_base: float, norm_eps: float) -> None:
        if num_heads is not None:
            require("num_heads", num_heads, at_least=1)
        require("rope_base", rope_base, at_least=1, at_most=_MOST_BASE)
        require("norm_eps", norm_eps, at_least=0, at_most=1)
        self.num_heads = num_heads
        self.grid = grid
        self.rope_base = rope_base
        self.norm_eps = norm_eps

    def informed(self, args: Mapping[str, object]) -> Self:
        told: dict[str, object] = {}
        heads, side = _HEADS.get(str(args.get("gpt_model")).removeprefix("GPT-")), _side(args)
        if heads and self.num_heads is None:
            told["num_heads"] = heads
        elif heads and self.num_heads != heads:
            raise ValueError(f"num_heads: gpt_model={args['gpt_model']} has {heads}, got {self.num_heads}")
        if side and self.grid is None:
            told["grid"] = [side, side]
        elif side and self.grid != [side, side]:
            size = f"image_size={args['image_size']} and downsample_size={args['downsample_size']}"
            raise ValueError(f"grid: {size} make [{side}, {side}], got {self.grid}")
        if not told:
            return self
        spec = self.spec()
        given = cast("Mapping[str, object]", spec["init_args"])
        return from_spec({**spec, "init_args": {**given, **told}}, type(self))

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return self.sides("grid", self.grid)

    def count_classes(self, shapes: Shapes) -> int:
        rows = shapes.size(CLASS_TABLE)
        if rows < 2:
            raise ValueError(f"its {CLASS_TABLE} has one row, that of no class, so there are no classes")
        return rows - 1

    @abstractmethod
    def ordering(self, shapes: Shapes) -> Ordering:
        """In which its tokens come.

        Raises:
            ValueError: an option is out of range, or a tensor missing.
        """

    def conditioner(self, shapes: Shapes) -> Conditioner | None:
        """What takes its conditions; None: classes."""
        return None

    def places(self) -> Sequence[Places]:
        """Added to the input of its backbone."""
        return ()

    def layers_behind(self) -> int:
        """How many of its layers lie behind the first way out."""
        return 0

    def rules(self, backbone: Transformer) -> Iterable[Rule]:
        """For tensors that no other of them has."""
        return ()

    def condition(self, generator: Generator) -> Iterable[Rule]:
        """For the tensors of its conditions."""
        return CLASSES

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        codes, its = shapes.axes("tok_embeddings.weight", 2)[0], tokenizer.space.codebook_size
        if its not in (None, codes):
            raise ValueError(f"has {codes} codes, its tokenizer {its}; name its own tokenizer")
        known, facts = self.class_names(shapes), tokenizer.facts
        return Generator(
            tokenizer=tokenizer,
            ordering=self.ordering(shapes),
            backbone=self.backbone(shapes),
            head=DiscreteHead(),
            conditioner=self.conditioner(shapes),
            ema_decay=0,
            facts=facts if known is None else dataclasses.replace(facts, class_names=known),
        )

    def backbone(self, shapes: Shapes) -> Transformer:
        """Width and depth are the tensors', and the width inside feed-forward layers.

        Raises:
            ValueError: a tensor is missing, the heads do not divide the width, or there are too few layers.
        """
        hidden, width = shapes.axes("layers.0.feed_forward.w1.weight", 2)
        depth, behind = shapes.count("layers.{}.attention.wqkv.weight"), self.layers_behind()
        num_heads = self.need(self.num_heads)
        # A pair of numbers, which is turned, for each of two axes.
        if width % (4 * num_heads):
            raise ValueError(f"num_heads: must divide a width of {width} into multiples of 4, got {num_heads}")
        if behind >= depth:
            raise ValueError(f"way_layers: must be fewer than all {depth} layers, got {behind}")
        return Transformer(
            width=width,
            num_layers=depth - behind,
            attention=Attention(num_heads=num_heads),
            feed_forward=GatedMLP(ratio=hidden / width, multiple_of=1),
            norm=RMSNorm(eps=self.norm_eps),
            rotary=AxialRotary(base=self.rope_base),
            places=list(self.places()) or None,
            dropout=_DROPOUT,
            way_layers=behind or 1,
        )

    def names(self, generator: Generator) -> Names:
        backbone = generator.backbone
        assert isinstance(backbone, Transformer)
        return Names([*llama_names(len(backbone.blocks)), *self.condition(generator), *self.rules(backbone)])

    def refuse_tables(self, generator: Generator, tensors: Mapping[str, Tensor]) -> None:
        if TURNS in tensors:
            refuse_turns(
                tensors[TURNS],
                width=generator.backbone.width,
                num_heads=self.need(self.num_heads),
                grid=self.sides("grid", self.grid),
                rope_base=self.rope_base,
            )


def _side(args: Mapping[str, object]) -> int | None:
    """Of the grid of tokens, where a training script's options tell it."""
    size, shrinks = args.get("image_size"), args.get("downsample_size")
    if type(size) is int and type(shrinks) is int and 0 < shrinks <= size:
        return size // shrinks
    return None
