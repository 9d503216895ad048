"""The released sizes of LlamaGen and what was made of it are those of the recipes."""

from __future__ import annotations

import pytest
import torch

from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.llamagen import LlamaGen
from arlab.checkpoints.nar import NAR
from arlab.checkpoints.par import PAR
from arlab.checkpoints.randar import RandAR
from arlab.checkpoints.shapes import Shapes
from arlab.generators.generator import Generator
from tests.benchmarks.recipes import FOLDER, built

# PAR's weights are released for more tokens than its recipe trains on.
RECIPES = {
    "llamagen_b": (LlamaGen, "b_256", (16, 16)),
    "llamagen_l": (LlamaGen, "l_256", (16, 16)),
    "nar_b": (NAR, "b", (16, 16)),
    "nar_m": (NAR, "m", (16, 16)),
    "nar_l": (NAR, "l", (16, 16)),
    "randar_l": (RandAR, "l", (16, 16)),
    "par_xl_4x": (PAR, "xl_4x_384", (24, 24)),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_what_its_preset_makes_of_its_tensors(recipe: str) -> None:
    cls, preset, grid = RECIPES[recipe]
    family: GeneratorFamily = cls(**cls.presets[preset])
    family.refuse_missing(recipe)
    model = built(FOLDER / f"{recipe}.yaml")
    assert isinstance(model, Generator)
    tensors = family.names(model).published(model.state_dict())
    shapes = Shapes({name: tuple(value.shape) for name, value in tensors.items()})
    assert family.token_grid(shapes) == grid
    assert family.count_classes(shapes) == 1000
    with torch.device("meta"):
        made = family.generator(shapes, model.tokenizer.module)
    assert made.ordering.spec() == model.ordering.spec()
    # The width inside of feed-forward layers, which recipes round up, is told by their tensors: of the same shapes.
    assert {name: value.shape for name, value in made.state_dict().items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert isinstance(made.backbone, Transformer)
    assert isinstance(model.backbone, Transformer)
    for part in ("attention", "norm", "rotary"):
        assert getattr(made.backbone, part).spec() == getattr(model.backbone, part).spec()
    assert [each.spec() for each in made.backbone.places_recipes] == [
        each.spec() for each in model.backbone.places_recipes
    ]
    assert made.backbone.dropout.p == model.backbone.dropout.p
    assert made.backbone.way_layers == model.backbone.way_layers
