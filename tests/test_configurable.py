from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest
from torch import nn

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP, Activation, FeedForward
from arlab.backbones.norms import LayerNorm, NormedQK
from arlab.backbones.places import LearnedPlaces, LevelPlaces
from arlab.backbones.rotary import AxialRotary, CountedRotation
from arlab.backbones.transformer import Transformer
from arlab.configurable import Configurable, from_spec, to_plain
from arlab.optimization import AdamW
from arlab.orderings.raster import Raster


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Size:
    sides: tuple[int, int]
    colour: Colour = Colour.RED


class Leaf(Configurable):
    def __init__(self, *, number: int = 3) -> None:
        self.number = number


class Tree(Configurable):
    def __init__(
        self,
        leaf: Leaf,
        *,
        leaves: list[Leaf] | None = None,
        size: Size | None = None,
        sizes: tuple[Size, ...] = (),
        colour: Colour = Colour.BLUE,
        span: tuple[float, float] = (0.0, 1.0),
        where: Path | str | None = None,
    ) -> None:
        self.leaf, self.leaves, self.size, self.sizes = leaf, leaves, size, sizes
        self.colour, self.span, self.where = colour, span, where


class Module(nn.Module, Configurable):
    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)


class Wide(Module):
    def __init__(self, *, factor: int = 2) -> None:
        super().__init__(width=8 * factor)


def test_arguments_are_recorded_with_defaults_and_by_name() -> None:
    assert Leaf().spec() == {"class_path": f"{__name__}.Leaf", "init_args": {"number": 3}}
    spec = Tree(Leaf(number=1)).spec()
    assert isinstance(spec["init_args"], dict)
    assert spec["init_args"]["leaf"] == {"class_path": f"{__name__}.Leaf", "init_args": {"number": 1}}
    assert spec["init_args"]["colour"] == "BLUE"
    assert spec["init_args"]["span"] == [0.0, 1.0]


def test_the_outermost_constructor_speaks() -> None:
    assert Wide(factor=3).spec()["init_args"] == {"factor": 3}
    assert from_spec(Wide(factor=3).spec(), Module).linear.in_features == 24


def test_specs_survive_json_and_rebuild_equal_objects() -> None:
    tree = Tree(
        Leaf(number=5),
        leaves=[Leaf(), Leaf(number=9)],
        size=Size((2, 3), Colour.BLUE),
        sizes=(Size((1, 1)),),
        colour=Colour.RED,
        where=Path("runs"),
    )
    again = from_spec(json.loads(json.dumps(tree.spec())), Tree)
    assert again.spec() == tree.spec()
    assert again.size == Size((2, 3), Colour.BLUE)
    assert again.sizes == (Size((1, 1)),)
    assert again.colour is Colour.RED
    assert again.span == (0.0, 1.0)
    assert again.leaves is not None
    assert [leaf.number for leaf in again.leaves] == [3, 9]


@pytest.mark.parametrize(
    "component",
    [
        Raster(),
        AdamW(betas=(0.8, 0.99)),
        MLP(activation=Activation.RELU),
        Attention(qk_norm=NormedQK(norm=LayerNorm(eps=1e-3))),
        Transformer(
            width=32,
            feed_forward=MLP(activation=Activation.SILU),
            rotary=AxialRotary(nowhere=CountedRotation()),
            places=[LearnedPlaces(), LevelPlaces()],
        ),
    ],
    ids=lambda component: type(component).__name__,
)
def test_round_trip_of_components(component: Configurable) -> None:
    spec = component.spec()
    assert from_spec(json.loads(json.dumps(spec)), type(component)).spec() == spec
    # A rebuilt enumeration is the member, not its name.
    if isinstance(component, MLP):
        assert from_spec(spec, MLP).activation is Activation.RELU


def test_remember_replaces_what_was_recorded() -> None:
    tree = Tree(Leaf(), where="runs/latest")
    tree.remember("where", "runs/3")
    assert isinstance(tree.spec()["init_args"], dict)
    assert tree.spec()["init_args"]["where"] == "runs/3"


def test_unwritable_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="function cannot be written to a checkpoint"):
        to_plain(lambda: None)


@pytest.mark.parametrize(
    ("class_path", "message"),
    [
        ("os.system", "os.system is not a known FeedForward"),
        ("subprocess.Popen", "subprocess.Popen is not a known FeedForward"),
        ("builtins.eval", "builtins.eval is not a known FeedForward"),
        ("this_module_is_nowhere.Thing", "is not a known FeedForward"),
        ("arlab.orderings.raster.Raster", "Raster is not a known FeedForward"),
        ("arlab.backbones.feed_forward.Nothing", "Nothing is not a known FeedForward"),
        ("arlab.no_such_module.Thing", "this version of arlab has no such class"),
        ("MLP", "MLP is not a known FeedForward"),
    ],
)
def test_nothing_but_known_components_is_built(class_path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_spec({"class_path": class_path, "init_args": {}}, FeedForward)


def test_nested_specs_are_held_to_the_same_rule() -> None:
    spec = {"class_path": f"{__name__}.Tree", "init_args": {"leaf": {"class_path": "os.system", "init_args": {}}}}
    with pytest.raises(ValueError, match=r"os\.system is not a known Configurable"):
        from_spec(spec, Tree)


def test_unknown_options_are_named() -> None:
    spec = {"class_path": "arlab.backbones.feed_forward.MLP", "init_args": {"ratio": 2.0, "colour": 1, "age": 2}}
    with pytest.raises(ValueError, match="has no option 'age', 'colour'"):
        from_spec(spec, FeedForward)


def test_a_part_that_stood_in_for_none_is_recorded() -> None:
    """So that a default that changes later does not change what an old checkpoint rebuilds."""
    spec = Transformer(width=32).spec()["init_args"]
    assert isinstance(spec, dict)
    assert spec["attention"] == Attention().spec()
    assert spec["norm"]["init_args"] == {"eps": 1e-5, "affine": True}


def test_missing_arguments_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="missing a required argument: 'leaf'"):
        from_spec({"class_path": f"{__name__}.Tree", "init_args": {}}, Tree)
