"""The parts of a model that have laws, each on the grid that the model itself has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from arlab.configurable import Configurable
from arlab.conformance.families import Family, family_of
from arlab.conformance.law import Grid, fresh
from arlab.conformance.quantizer_laws import QuantizerSubject
from arlab.conformance.subject import Subject, accepted
from arlab.generators.generator import Generator
from arlab.module import Module
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout
from arlab.rng import SampleRng
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.tokenizer import Tokenizer

_DRAWN_LAYOUTS = 2


def own_parts(model: Module) -> list[tuple[Configurable, Family]]:
    """Ordering, head, pyramid and quantizer of a model, as far as it has them, and where their laws are tried.

    Only how the model was made counts, so that it may lie on a device without memory. Heads have no grid of their own
    and are tried on the usual ones.
    """
    parts: list[tuple[Configurable, Family]] = []
    tokenizer: Module = model
    if isinstance(model, Generator):
        tokenizer = model.tokenizer.module
        parts.append(_ordering(fresh(model.ordering), _anew(model.layout), model.conditioner.num_slots))
        parts.append((fresh(model.head), _family(model.head)))
    assert isinstance(tokenizer, Tokenizer)
    latent = tokenizer.layout.finest
    if tokenizer.pyramid is not None:
        parts.append((fresh(tokenizer.pyramid), _only(_family(tokenizer.pyramid), latent)))
    if tokenizer is model and isinstance(tokenizer, LearnedTokenizer):
        parts.append(_quantizer(fresh(tokenizer.quantizer), latent, tokenizer.space.width))
    return parts


def _ordering(ordering: Ordering, layout: Layout, num_slots: int) -> tuple[Ordering, Family]:
    def cases(component: Ordering, grid: Grid) -> Sequence[Subject]:
        drawn = range(_DRAWN_LAYOUTS if component.draws_layouts else 0)
        layouts = [layout, *(component.draw_layout(layout, SampleRng([seed])) for seed in drawn)]
        return accepted([Subject(component, each, num_slots) for each in dict.fromkeys(layouts)])

    return ordering, dataclasses.replace(_only(_family(ordering), layout.finest), cases=cases)


def _quantizer(quantizer: Quantizer, latent: Grid, width: int) -> tuple[Quantizer, Family]:
    def cases(component: Quantizer, grid: Grid) -> Sequence[QuantizerSubject]:
        return [QuantizerSubject(component, grid, width)]

    return quantizer, dataclasses.replace(_only(_family(quantizer), latent), cases=cases)


def _only(family: Family, grid: Grid) -> Family:
    return dataclasses.replace(family, grids=(grid,), shrinks=False)


def _family(component: Configurable) -> Family:
    family = family_of(type(component))
    assert family is not None
    return family


def _anew(layout: Layout) -> Layout:
    """The same layout, whose tensors are made when they are asked for, in memory."""
    return Layout(tuple(layout.shapes))
