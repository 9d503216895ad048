"""Which orderings, heads and tokenizers go together: each triple is built, and its refusal is kept.

Nothing is written down here about any of them: a pair works when a small generator of it can be made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from arlab.backbones.attention import Attention
from arlab.backbones.backbone import Backbone
from arlab.backbones.modulation import AdaLN, Modulation
from arlab.backbones.places import LearnedPlaces, Places
from arlab.backbones.rotary import NoRotary
from arlab.backbones.target_places import TargetPlaces
from arlab.backbones.transformer import Transformer
from arlab.configurable import Configurable
from arlab.conformance.check import told
from arlab.conformance.families import by_default, discovered
from arlab.conformance.law import Grid, fresh
from arlab.conformance.refusal import is_refusal
from arlab.conformance.toy import ToyTokenizer
from arlab.generators.generator import Generator
from arlab.heads.head import Head
from arlab.optimization import AdamW
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace

T = TypeVar("T", bound=Configurable)
_GRID: Grid = (2, 3)
_CODES = TokenSpace(2, 4)
"""As many codes as two bits have, for heads that draw bits."""


@dataclass(frozen=True)
class TokenKind:
    """What a tokenizer makes of images.

    Attributes:
        name: in one word.
        what: in a few.
        space: the values of tokens.
        pyramid: what its levels are; None where there is one.
        made_by: names of classes that make such tokens.
    """

    name: str
    what: str
    space: TokenSpace
    pyramid: type[Pyramid] | None
    made_by: tuple[str, ...]

    @property
    def mark(self) -> str:
        """One letter."""
        return self.name[0]


KINDS = (
    TokenKind("codes", "codes on one grid", _CODES, None, ("VQTokenizer", "PixelTokenizer")),
    TokenKind("scales", "codes on scales", _CODES, ScalePyramid, ("ScalePyramid",)),
    TokenKind("bands", "codes on bands of frequencies", _CODES, FrequencyPyramid, ("FrequencyPyramid",)),
    TokenKind("depths", "codes on depths", _CODES, DepthPyramid, ("DepthPyramid",)),
    TokenKind("vectors", "continuous vectors on one grid", TokenSpace(3), None, ("KLTokenizer",)),
)


@dataclass(frozen=True)
class Tried:
    """What came of building an ordering, a head and a tokenizer into a generator.

    Attributes:
        ordering: its class.
        head: its class.
        kind: what the tokenizer makes.
        why: the refusal in one line; None where they work.
        meant: whether it is a refusal; otherwise an error that should not be.
    """

    ordering: type[Ordering]
    head: type[Head]
    kind: TokenKind
    why: str | None = None
    meant: bool = True

    @property
    def works(self) -> bool:
        """Whether the generator could be built."""
        return self.why is None


def tried(ordering: type[Ordering], head: type[Head], kind: TokenKind) -> Tried:
    """Build a generator of default options and tell what it said."""
    try:
        pair_of(_made(ordering, Ordering), _made(head, Head), tokenizer_of(kind))
    except Exception as error:
        if isinstance(error, ValueError) and (is_refusal(error, ordering) or is_refusal(error, head)):
            return Tried(ordering, head, kind, " ".join(str(error).split()))
        return Tried(ordering, head, kind, told(error, head), meant=False)
    return Tried(ordering, head, kind)


def pair_of(
    ordering: Ordering,
    head: Head,
    tokenizer: Tokenizer,
    *,
    width: int = 8,
    optimizer: AdamW | None = None,
    ema_decay: float = 0.0,
) -> Generator:
    """A small generator of others like this ordering and this head, on a backbone that suits the ordering.

    Args:
        ordering: of its tokens.
        head: not bound yet.
        tokenizer: makes the tokens.
        width: D of the backbone.
        optimizer: the generator's own where not given.
        ema_decay: of the average of its weights; 0 for none.

    Raises:
        ValueError: they refuse each other or the tokens, or no backbone suits.
    """
    refusal: ValueError | None = None
    for backbone in backbones(width, ordering):
        try:
            return Generator(
                tokenizer=tokenizer,
                ordering=fresh(ordering),
                backbone=backbone,
                head=fresh(head),
                optimizer=optimizer,
                ema_decay=ema_decay,
            )
        except ValueError as error:
            if not str(error).startswith("backbone"):
                raise
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def backbones(width: int, ordering: Ordering) -> Iterator[Backbone]:
    """Small backbones: one that is modulated, then like it with each other kind of places, of modulation.

    All of them tell slots their targets where the ordering asks for it.
    """
    told: list[Places] = [TargetPlaces()] if ordering.tells_targets else []
    for places in (None, *discovered(Places)):
        tables: list[Places] = [LearnedPlaces()]
        if places is not None and places is not LearnedPlaces:
            tables = [_made(places, Places)]
        yield _backbone(width, [*tables, *told], AdaLN())
    for modulation in discovered(Modulation):
        yield _backbone(width, [LearnedPlaces(), *told], _made(modulation, Modulation))


def _backbone(width: int, places: list[Places], modulation: Modulation) -> Backbone:
    return Transformer(
        width=width,
        num_layers=1,
        attention=Attention(num_heads=2),
        rotary=NoRotary(),
        places=places,
        modulation=modulation,
    )


def tokenizer_of(kind: TokenKind, grid: Grid = _GRID) -> ToyTokenizer:
    """A toy tokenizer that makes such tokens of a latent on this grid."""
    pyramid = None if kind.pyramid is None else kind.pyramid()
    layout = Layout((grid,)) if pyramid is None else pyramid.layout(grid)
    tokenizer = _OfPyramid(layout, kind.space.width, kind.space.codebook_size)
    tokenizer.levels = pyramid
    return tokenizer


class _OfPyramid(ToyTokenizer):
    """A toy tokenizer that says what its levels are."""

    levels: Pyramid | None = None

    @property
    def pyramid(self) -> Pyramid | None:
        return self.levels


def matrix(orderings: Iterable[type[Ordering]], heads: Iterable[type[Head]]) -> list[Tried]:
    """Every triple of these and a kind of tokens, orderings first, then heads."""
    columns = list(heads)
    return [tried(ordering, head, kind) for ordering in orderings for head in columns for kind in KINDS]


def _made(cls: type[Configurable], kind: type[T]) -> T:
    component = by_default(cls)
    assert isinstance(component, kind)
    return component
