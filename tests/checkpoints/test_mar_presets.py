"""The presets of MAR, FlowAR and xAR against the recipes of the same models, and their tokenizer, without memory."""

from __future__ import annotations

import pytest
import torch

from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.flowar import FlowAR
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.checkpoints.mar import MAR
from arlab.checkpoints.names import Names
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.xar import XAR
from arlab.generators.generator import Generator
from arlab.module import Module
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from tests.benchmarks.recipes import FACTS, FOLDER, built


def shapes_of(model: Module, names: Names) -> Shapes:
    """Of the files it would be released as."""
    return Shapes({name: tuple(value.shape) for name, value in names.published(model.state_dict()).items()})


def weights(model: Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("recipe", "kind", "preset"),
    [("mar_b", MAR, "b"), ("xar_b", XAR, "b"), ("flowar_s", FlowAR, "s"), ("flowar_l", FlowAR, "l")],
)
def test_the_preset_is_the_recipe(recipe: str, kind: type[GeneratorFamily], preset: str) -> None:
    model, family = built(FOLDER / f"{recipe}.yaml"), kind(**kind.presets[preset])
    assert isinstance(model, Generator)
    with torch.device("meta"):
        shapes = shapes_of(model, family.names(model))
        made = family.generator(shapes, model.tokenizer.module)
    assert family.token_grid(shapes) == (16, 16)
    assert family.count_classes(shapes) == 1000
    assert weights(made) == weights(model)
    for part in ("ordering", "head", "conditioner"):
        assert getattr(made, part).spec() == getattr(model, part).spec()


def test_the_tokenizer_is_the_recipe() -> None:
    family, model = LDMKL(), built(FOLDER / "tokenizers" / "mar_kl16.yaml")
    assert isinstance(model, KLTokenizer)
    with torch.device("meta"):
        shapes = shapes_of(model, family.names(model))
        made = family.tokenizer(shapes, FACTS)
    assert family.shrinks(shapes) == 16
    assert weights(made).items() <= weights(model).items()
    assert made.quantizer.token_scale == model.quantizer.token_scale
