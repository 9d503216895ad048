"""From published files to a model: which file is what, whether it fits, and the weights in their places."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from arlab import checkpoints
from arlab.checkpoints.family import Family, GeneratorFamily, TokenizerFamily
from arlab.checkpoints.names import Names
from arlab.checkpoints.published_files import args_in, read_published, tensors_in
from arlab.checkpoints.shapes import Shapes
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.module import Module
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.uninitialised import uninitialised

F = TypeVar("F", bound=Family)
_UNKNOWN = "unknown"
_MOST_CLASSES = 2**20
IMAGE_SIZE = (256, 256)
"""Of a tokenizer that is imported alone, where it is not told."""


@dataclass(frozen=True, eq=False)
class Found:
    """A published file and what it is.

    Attributes:
        path: of the file.
        family: whose it is.
        tensors: its weights.
        entry: where in the file they lie; '' is the file itself.
    """

    path: Path
    family: Family
    tensors: Mapping[str, Tensor]
    entry: str = ""

    @property
    def shapes(self) -> Shapes:
        """Of its weights."""
        return Shapes({name: tuple(value.shape) for name, value in self.tensors.items()})


def families() -> dict[str, type[GeneratorFamily]]:
    """The families of generators by the names they go by on a command line, 'llamagen'."""
    for found in pkgutil.iter_modules(checkpoints.__path__, f"{checkpoints.__name__}."):
        importlib.import_module(found.name)
    return {cls.__name__.lower(): cls for cls in sorted(_concrete(GeneratorFamily), key=lambda cls: cls.__name__)}


def recognise(path: Path, among: Sequence[Family]) -> Found:
    """Whose file it is.

    Args:
        path: of the file.
        among: the families it may be of, with their options.

    Raises:
        ValueError: it cannot be read, or it is of none of them.
    """
    held = read_published(path)
    if found := _recognised(path, held, among):
        return found
    _, tensors = tensors_in(held, among[0].entries)
    if not tensors:
        raise ValueError(f"{path}: holds no tensors; it has {', '.join(sorted(held)[:5]) or 'nothing'}")
    lacks = [f"no {type(each).__name__} checkpoint, it has no tensor {_missing(held, each)}" for each in among]
    raise ValueError(f"{path}: is {', and '.join(lacks)}{_like(tensors)}")


def _missing(held: Mapping[str, object], family: Family) -> str:
    """The first mark of a family that a file has not."""
    _, tensors = tensors_in(held, family.entries)
    return next(mark for mark in family.marks if mark not in tensors)


def recognised(path: Path, among: Sequence[Family]) -> Found | None:
    """What a file holds of these families, if anything.

    Raises:
        ValueError: it cannot be read.
    """
    return _recognised(path, read_published(path), among)


def _recognised(path: Path, held: Mapping[str, object], among: Sequence[Family]) -> Found | None:
    for family in among:
        entry, tensors = tensors_in(held, family.entries)
        if family.marked(tensors):
            for name, value in tensors.items():
                _refuse_odd(path, name, value)
            try:
                return Found(path, family.informed(args_in(held)), tensors, entry)
            except ValueError as error:
                raise ValueError(f"{path}: its args: {error}") from error
    return None


def _refuse_odd(path: Path, name: str, value: Tensor) -> None:
    """See that a tensor is one of numbers, all there: a few bytes may stand for gigabytes of the same number."""
    dense = not value.is_nested and value.layout is torch.strided and not value.is_meta
    if not dense or value.is_quantized or value.is_complex():
        kind = str(value.dtype).removeprefix("torch.")
        raise ValueError(f"{path}: {name} is no dense tensor of real numbers, but of {kind}")
    stored = value.untyped_storage().nbytes()
    if stored < value.numel() * value.element_size():
        raise ValueError(f"{path}: {name} of shape {tuple(value.shape)} is not there as a whole, but {stored} bytes")


def import_released(
    generator: Found | None,
    tokenizer: Found | Tokenizer,
    *,
    class_names: tuple[str, ...] | None = None,
    source: str = _UNKNOWN,
    image_size: tuple[int, int] = IMAGE_SIZE,
) -> Module:
    """The model that published files are.

    Args:
        generator: the file of a generator; None: the tokenizer alone.
        tokenizer: the file of its tokenizer, or a tokenizer.
        class_names: one per class; by default what the family's options tell, or their numbers.
        source: the name of the image set.
        image_size: height and width of a tokenizer's images, where it comes alone; a generator's tokens tell them.

    Raises:
        ValueError: naming file and tensor or option; something is missing, left over, of another shape or of another
            number.
    """
    if generator is None:
        assert isinstance(tokenizer, Found)
        return _tokenizer(tokenizer, DataFacts(source, 3, image_size, class_names or ()))
    family = generator.family
    assert isinstance(family, GeneratorFamily)
    generator.family.refuse_missing(str(generator.path))
    try:
        count, grid = family.count_classes(generator.shapes), family.token_grid(generator.shapes)
        known = family.class_names(generator.shapes)
    except ValueError as error:
        raise ValueError(f"{generator.path}: {error}") from error
    require("classes", count, at_least=0, at_most=_MOST_CLASSES)
    told = tuple(map(str, range(count))) if known is None else known
    names = told if class_names is None else class_names
    if len(names) != count:
        raise ValueError(f"{generator.path}: has {count} classes, but --classes or --images names {len(names)}")
    if known is not None and names != known:
        number = next(number for number, name in enumerate(names) if name != known[number])
        raise ValueError(
            f"{generator.path}: class {number} is called {known[number]!r}, and named {names[number]!r}; name none"
        )
    if isinstance(tokenizer, Found):
        made = _tokenizer(tokenizer, DataFacts(source, 3, _image_size(tokenizer, grid), names))
    else:
        made = _called(tokenizer, source, names)
    finest = made.layout.finest
    # Tokens without places are one row of them.
    if (finest if len(finest) > 1 else (1, *finest)) != grid:
        raise ValueError(f"{generator.path}: has a grid of {grid}, the tokenizer's is {made.layout.finest}")
    try:
        with uninitialised():
            model = family.generator(generator.shapes, made)
    except ValueError as error:
        raise ValueError(f"{generator.path}: {error}") from error
    fill(model, family.names(model), generator)
    try:
        family.refuse_tables(model, generator.tensors)
    except ValueError as error:
        raise ValueError(f"{generator.path}: {error}") from error
    return model.eval()


def fill(model: Generator | Tokenizer, names: Names, found: Found) -> None:
    """Put published weights in their places.

    Raises:
        ValueError: a tensor is missing, left over or of another shape; the first is named.
    """
    own = model.state_dict()
    # What is expected is told by shapes, which take no memory.
    _refuse(found, names.published({name: value.to("meta") for name, value in own.items()}))
    told = {name for rule in names.rules for name in rule.ours}
    if blank := [name for name, _ in model.named_parameters() if name not in told]:
        raise ValueError(f"{found.path}: the table of {type(found.family).__name__} leaves out {blank[0]}")
    with torch.no_grad():
        for name, value in names.own(found.tensors):
            own[name].copy_(value)


def _refuse(found: Found, expected: Mapping[str, Tensor]) -> None:
    """See that a file holds exactly what a table wants."""
    theirs = f"{found.path}: of {type(found.family).__name__}"
    missing = [name for name in expected if name not in found.tensors]
    if missing:
        raise ValueError(f"{theirs}, but it has no tensor {missing[0]}{_more(missing)}")
    for name, value in expected.items():
        given = found.tensors[name]
        if tuple(given.shape) != tuple(value.shape):
            raise ValueError(f"{theirs}, but {name} is of shape {tuple(given.shape)}, expected {tuple(value.shape)}")
        if given.is_floating_point() != value.is_floating_point():
            kind = str(given.dtype).removeprefix("torch.")
            raise ValueError(f"{theirs}, but {name} is no tensor of floating-point numbers, but of {kind}")
        # Of numbers of a byte PyTorch does not tell.
        if not bool((given if given.element_size() > 1 else given.float()).isfinite().all()):
            raise ValueError(f"{theirs}, but {name} holds numbers that are not finite")
    left = [
        name
        for name in found.tensors
        if name not in expected and not any(re.search(pattern, name) for pattern in found.family.unused)
    ]
    if left:
        like = _like(found.tensors, found)
        raise ValueError(f"{theirs}, but its tensor {left[0]} has no place in such a model{_more(left)}{like}")


def _called(tokenizer: Tokenizer, source: str, class_names: tuple[str, ...]) -> Tokenizer:
    """The same for data of this name, whose classes are called so; a tokenizer makes nothing of either."""
    facts = dataclasses.replace(tokenizer.facts, source=source, class_names=class_names)
    if tokenizer.facts.class_names != class_names:
        tokenizer.facts = facts
        tokenizer.remember("facts", facts)
    return tokenizer


def _more(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _like(tensors: Mapping[str, Tensor], found: Found | None = None) -> str:
    """What a file looks like by its tensors; where it was found to be something, only what it looks like even more."""
    own = set() if found is None else set(found.family.marked(tensors))
    kinds = (*_concrete(GeneratorFamily), *_concrete(TokenizerFamily))
    names = sorted(cls.__name__ for cls in kinds if own < set(cls.marked(tensors)))
    return f"; it looks like {', '.join(names)}" if names else ""


def _image_size(found: Found, grid: tuple[int, int]) -> tuple[int, int]:
    assert isinstance(found.family, TokenizerFamily)
    try:
        return found.family.image_size(found.shapes, grid)
    except ValueError as error:
        raise ValueError(f"{found.path}: {error}") from error


def _tokenizer(found: Found, facts: DataFacts) -> Tokenizer:
    """The tokenizer of a file, for such images."""
    family = found.family
    assert isinstance(family, TokenizerFamily)
    family.refuse_missing(str(found.path))
    try:
        with uninitialised():
            model = family.tokenizer(found.shapes, facts)
    except ValueError as error:
        raise ValueError(f"{found.path}: {error}") from error
    fill(model, family.names(model), found)
    return model.eval()


def _concrete(cls: type[F]) -> list[type[F]]:
    """Classes of a kind that can be built."""
    found = [] if inspect.isabstract(cls) else [cls]
    for derived in cls.__subclasses__():
        found += _concrete(derived)
    return found
