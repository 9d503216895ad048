"""What holds of every family: a model released as the family's, and imported again, is the same model."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from arlab.checkpoints.family import GeneratorFamily, TokenizerFamily
from arlab.checkpoints.importing import Found, import_released, recognise
from arlab.checkpoints.names import Names
from arlab.generators.generator import Generator
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.tokenizer import Tokenizer

SEEDS = range(4)
"""Of random configurations."""


def shaken(module: nn.Module, seed: int) -> None:
    """Give every weight a value of its own, so that none is where another should be unnoticed."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng))


def round_trip(
    family: GeneratorFamily, generator: Generator, folder: Path, *, in_part: frozenset[str] = frozenset()
) -> None:
    """Release a generator in its family's form, import it, and compare settings and weights.

    Weights that the release holds fixed (a zero bias) come back so: a generator that was imported is released and
    imported once more, bit by bit.

    Args:
        family: with its options.
        generator: the model.
        folder: for its files.
        in_part: weights of which some are published and others, of no use, are not.
    """
    shaken(generator, 1)
    first = _imported(family, family.names(generator), generator, generator.tokenizer.module, folder / "1.safetensors")
    assert isinstance(first, Generator)
    assert first.spec() == generator.spec()
    again = _imported(family, family.names(first), first, generator.tokenizer.module, folder / "2.safetensors")
    _same_weights(first, again)
    # A fixed few aside, the first time, too.
    fixed = {name for rule in family.names(generator).rules for name in rule.ours if len(rule.theirs) != 1}
    _same_weights(generator, first, but=fixed | in_part)


def tokenizer_round_trip(family: TokenizerFamily, tokenizer: LearnedTokenizer, folder: Path) -> None:
    """Release a tokenizer in its family's form, import it, and compare settings and weights."""
    shaken(tokenizer, 2)
    path = folder / "tokenizer.safetensors"
    save_file(_whole(family.names(tokenizer).published(tokenizer.state_dict())), path)
    found = recognise(path, [family])
    made = family.tokenizer(found.shapes, tokenizer.facts)
    assert made.spec() == tokenizer.spec()
    # Tokens without places are as many as there are.
    size = (256 // family.shrinks(found.shapes),) * 2 if tokenizer.layout.num_axes == 2 else tokenizer.layout.finest
    imported = import_released(None, found)
    assert isinstance(imported, Tokenizer)
    assert imported.layout.finest == size
    _same_weights(tokenizer, imported)


def _imported(family: GeneratorFamily, names: Names, model: Generator, tokenizer: Tokenizer, path: Path) -> Generator:
    save_file(_whole(names.published(model.state_dict())), path)
    found = recognise(path, [family, *(cls() for cls in family.tokenizers)])
    assert isinstance(found, Found)
    assert found.family is family
    made = import_released(found, tokenizer, class_names=tokenizer.facts.class_names)
    assert isinstance(made, Generator)
    return made


def _whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}


def _same_weights(one: nn.Module, other: nn.Module, but: set[str] | None = None) -> None:
    theirs = dict(other.named_parameters())
    for name, value in one.named_parameters():
        assert name in (but or ()) or torch.equal(value, theirs[name]), name


def dice(seed: int) -> random.Random:
    """Random numbers of a configuration."""
    return random.Random(seed)
