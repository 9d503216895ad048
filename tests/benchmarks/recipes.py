"""The table of docs/recipes.md: what experiments/imagenet256 holds, built on the meta device, which has no memory.

python -m tests.benchmarks.recipes
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import torch

from arlab.backbones.backbone import Backbone
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.transformer import Transformer
from arlab.cli.config import Tree, read
from arlab.cli.schema import checked
from arlab.configurable import from_spec, to_plain
from arlab.data.facts import DataFacts
from arlab.discovery import discover
from arlab.generators.generator import Generator
from arlab.module import Module
from arlab.orderings.ordering import Prefix
from arlab.rng import BatchRng

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "imagenet256"
GENERATORS = sorted(FOLDER.glob("*.yaml"))
FACTS = DataFacts("imagenet", channels=3, image_size=(256, 256), class_names=tuple(map(str, range(1000))))


def recipe(path: Path) -> Tree:
    """A configuration with its bases, checked."""
    discover()
    return checked(read(path, []))


@functools.cache
def built(path: Path) -> Module:
    """The model of a recipe for ImageNet's facts, without memory for its weights; not to be changed."""
    spec = _spec(path)
    if "tokenizer" in spec["init_args"]:
        spec["init_args"]["tokenizer"] = _spec(ROOT / spec["init_args"]["tokenizer"])
    with torch.device("meta"):
        return from_spec(spec, Module)


def _spec(path: Path) -> Tree:
    spec: Tree = recipe(path)["model"]
    spec["init_args"]["facts"] = to_plain(FACTS)
    return spec


def size(model: Module) -> int:
    """Parameters; a generator's without its tokenizer's."""
    return sum(parameter.numel() for parameter in model.parameters())


def row(path: Path) -> str:
    """A generator's line of the table."""
    model, text = built(path), path.read_text(encoding="utf-8")
    assert isinstance(model, Generator)
    published, fid = (re.search(rf"{words}: ([\d.]+(?: [MB])?)", text) for words in ("published", "FID they report"))
    told = [match[1] if match else "–" for match in (published, fid)]
    steps = sum(1 for _ in model.ordering.steps(model.layout, Prefix(model.conditioner.num_slots), BatchRng(0, 1)))
    cells = (
        f"`{path.stem}`",
        f"`{type(model.ordering).__name__}`",
        model.layout.num_tokens,
        steps,
        model.backbone.width,
        _layers(model.backbone),
        f"{size(model) / 1e6:.1f} M",
        *told,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _layers(backbone: Backbone) -> int:
    """Blocks, of both stages where there are two."""
    if isinstance(backbone, EncoderDecoder):
        return backbone.num_encoder_layers + backbone.num_decoder_layers
    assert isinstance(backbone, Transformer)
    return backbone.num_layers


def main() -> None:
    """Print the rows."""
    for path in GENERATORS:
        print(row(path))


if __name__ == "__main__":
    main()
