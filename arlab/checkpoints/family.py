"""The contract of a family of released models: a configuration read off its tensors, and a table of names.

A family is told what its tensors cannot tell (how many heads, the base of rotary positions) by its options. An option
that is ``None`` was not told yet, and is asked for. ``presets`` are the options of the released sizes.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import ClassVar, Self, TypeVar

from torch import Tensor

from arlab.checkpoints.names import Names
from arlab.checkpoints.shapes import Shapes
from arlab.configurable import Configurable
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.tokenizers.tokenizer import Tokenizer

MOST_TOKENS = 2**16
"""Of an image: each attends to all others."""
T = TypeVar("T")


class Family(Configurable, ABC):
    """Models that one publication released, all of one make.

    Attributes:
        marks: published names that any of its checkpoints has, and together no other family's.
        other_marks: those of its checkpoints of other makes, where there are several.
        entries: where in a file the weights may lie, the first that is there; '' is the file itself.
        unused: regular expressions of published tensors that are no weights (tables of positions, masks).
        presets: options of each released size by its name.
        widths: of the backbones of these sizes, where another size could pass for one of them.
    """

    marks: ClassVar[tuple[str, ...]]
    other_marks: ClassVar[tuple[tuple[str, ...], ...]] = ()
    entries: ClassVar[tuple[str, ...]] = ("model", "module", "state_dict", "")
    unused: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {}
    widths: ClassVar[Mapping[str, int]] = {}

    @classmethod
    def marked(cls, names: Collection[str]) -> tuple[str, ...]:
        """Those of its marks that are among published names, all of one make; none, if it is none of its own."""
        return next((marks for marks in (cls.marks, *cls.other_marks) if all(mark in names for mark in marks)), ())

    def informed(self, args: Mapping[str, object]) -> Self:
        """The same, with those options that were not given and that a file's own ``args`` tell.

        Raises:
            ValueError: what they tell is not what it should be.
        """
        return self

    def refuse_missing(self, file: str) -> None:
        """See that all options were given.

        Raises:
            ValueError: naming all that were not.
        """
        missing = [key for key in inspect.signature(type(self)).parameters if getattr(self, key) is None]
        if missing:
            keys = " ".join(f"{key}=..." for key in missing)
            sizes = f", or a released size by --preset {'|'.join(self.presets)}" if self.presets else ""
            raise ValueError(f"{file}: its tensors do not tell {', '.join(missing)}; give --set {keys}{sizes}")

    def need(self, value: T | None) -> T:
        """An option that was seen to be given."""
        if value is None:
            raise ValueError("an option was not given; refuse_missing comes first")
        return value

    def sides(self, key: str, value: list[int] | None) -> tuple[int, int]:
        """Height and width.

        Raises:
            ValueError: they are not two positive numbers.
        """
        given = self.need(value)
        if len(given) != 2 or min(given) < 1 or given[0] * given[1] > MOST_TOKENS:
            raise ValueError(f"{key}: expected [height, width] of at most {MOST_TOKENS} tokens in all, got {given}")
        return given[0], given[1]


class TokenizerFamily(Family):
    """Released tokenizers."""

    @abstractmethod
    def shrinks(self, shapes: Shapes) -> int:
        """Pixels along a side of a token."""

    def image_size(self, shapes: Shapes, grid: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the images whose tokens lie on such a grid.

        Raises:
            ValueError: a tensor is missing.
        """
        side = self.shrinks(shapes)
        return grid[0] * side, grid[1] * side

    @abstractmethod
    def tokenizer(self, shapes: Shapes, facts: DataFacts) -> Tokenizer:
        """The tokenizer whose weights these are the shapes of; its own weights are to be replaced.

        Raises:
            ValueError: a tensor is missing, or an option.
        """

    @abstractmethod
    def names(self, tokenizer: Tokenizer) -> Names:
        """Published tensors and those of a tokenizer that ``tokenizer`` made."""


class GeneratorFamily(Family):
    """Released generators.

    Attributes:
        tokenizers: what their tokenizers are released as.
    """

    tokenizers: ClassVar[tuple[type[TokenizerFamily], ...]]

    @abstractmethod
    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        """How many tokens there are along the sides of an image's finest level.

        Raises:
            ValueError: a tensor is missing, or an option.
        """

    @abstractmethod
    def count_classes(self, shapes: Shapes) -> int:
        """How many classes there are beside 'no class'.

        Raises:
            ValueError: a tensor is missing, or an option.
        """

    def class_names(self, shapes: Shapes) -> tuple[str, ...] | None:
        """What its classes are called, where an option tells."""
        return None

    @abstractmethod
    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        """The generator whose weights these are the shapes of; its own weights are to be replaced.

        Raises:
            ValueError: a tensor is missing, or an option.
        """

    @abstractmethod
    def names(self, generator: Generator) -> Names:
        """Published tensors and those of a generator that ``generator`` made."""

    def refuse_tables(self, generator: Generator, tensors: Mapping[str, Tensor]) -> None:
        """See that tables in the file that are no weights are those of ``generator``: of rotary positions, of levels.

        Raises:
            ValueError: one is another, so that an option is; both are named.
        """
        return
