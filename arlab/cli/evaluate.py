"""``arlab evaluate``: what a trained tokenizer keeps of images and what its tokens cost, with the protocol beside.

Letters: N images, B batch, C channels, H and W image sides.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arlab.cli.parser import Parser
from arlab.plugins import load_found, load_named
from arlab.ranges import require
from arlab.runs.files import refuse_unwritable
from arlab.runs.resolve import read, resolve

if TYPE_CHECKING:
    from arlab.data.data import Part
    from arlab.data.facts import DataFacts
    from arlab.images import Picture
    from arlab.metrics.reconstruction import Reconstructed
    from arlab.tokenizers.tokenizer import Tokenizer

_EXAMPLES = """\
  arlab evaluate runs/fashion/tokenizers/vq
  arlab evaluate runs/emoji32/tokenizers/vq --split test --network EfficientNetLite0
  arlab evaluate RUN --num_images 5000 --network LPIPS vgg=vgg16.pth linear=vgg_linear.pth --out lpips.json
  arlab list feature_networks"""
_SPLITS = ("train", "validation", "test")
_FILE = "metrics.json"
_PICTURE = "reconstructions.png"
_COLUMNS = 16
_SHOWN_SIDE = 64
_MOST_IMAGES = 1_000_000


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="evaluate",
        description="Measure a tokenizer on its data: PSNR, SSIM, perceptual distance, rFID, KID, codes, bits, speed.\n"
        f"Writes {_FILE} and {_PICTURE} into the run folder.",
        examples=_EXAMPLES,
    )
    options.add_argument("run", metavar="RUN", help="run folder, experiment folder, checkpoint or export")
    options.add_argument(
        "--split", choices=_SPLITS, default="validation", help="the part of the run's data (%(default)s)"
    )
    options.add_argument("--num_images", type=int, metavar="N", help="so many of them, drawn by the seed (all)")
    options.add_argument(
        "--network",
        nargs="+",
        metavar="WORD",
        help="a feature network, then its KEY=VALUE (FashionClassifier for gray images, EmojiClassifier for RGB)",
    )
    options.add_argument("--batch_size", type=int, default=64, metavar="N", help="images at a time (%(default)s)")
    options.add_argument("--seed", type=int, default=0, metavar="N", help="of the choice of images (%(default)s)")
    options.add_argument("--device", metavar="DEVICE", help="cpu, cuda, ... (the accelerator where there is one)")
    options.add_argument("--out", type=Path, metavar="FILE", help="JSON file, the picture beside it (in the run)")
    options.add_plugins()
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    options = parser().read(argv)
    _check(options)
    path = resolve(options.run)
    out, picture = _places(path, options.out)
    refuse_unwritable("run" if options.out is None else "out", out)
    load_named(options.plugins)
    held = read(path)

    from rich.console import Console

    from arlab.cli.start import content_of
    from arlab.cli.summary import say, show_figures
    from arlab.images import save_png
    from arlab.runs.checkpoint import KEY
    from arlab.runs.files import write_text

    tokenizer = _tokenizer(options.run, held)
    load_found()
    measured = _measure(options, tokenizer, held[KEY].get("data"))
    record = {
        "run": options.run,
        "checkpoint": path.as_posix(),
        "step": held.get("global_step"),
        "content": content_of(path),
        "model": held[KEY]["model"]["class_path"],
        "data": held[KEY]["data"],
        "batch_size": options.batch_size,
        **_surroundings(tokenizer),
        "figures": {name: figure.plain() for name, figure in measured.figures.items()},
    }
    save_png(_grid(measured), picture)
    write_text(out, json.dumps(record, indent=2, allow_nan=False) + "\n")

    console = Console()
    figures = measured.figures.items()
    show_figures(console, {f"{name} ({each.unit})" if each.unit else name: each.value for name, each in figures})
    how = measured.figures["perceptual_distance"].protocol
    say(
        console, f"{how.num_images} {how.split} images, {how.feature_network} {str(how.feature_hash)[:8]}, {how.device}"
    )
    say(console, f"of {path}, step {record['step']}")
    say(console, f"reconstructions: {picture}")
    say(console, f"metrics: {out}")
    return 0


# ---- what was asked for


def _check(options: argparse.Namespace) -> None:
    """See that numbers are in range and the file can be written, before anything is read."""
    for key in ("batch_size", "num_images"):
        value = getattr(options, key)
        if value is not None:
            require(key, value, at_least=1, at_most=_MOST_IMAGES)
    require("seed", options.seed, at_least=0, below=2**63)
    if options.out is not None:
        if options.out.suffix.lower() != ".json":
            raise ValueError(f"out: must be a .json file, got {options.out}")
        if options.out.is_dir():
            raise ValueError(f"out: {options.out} is a folder; name a .json file")


def _places(path: Path, out: Path | None) -> tuple[Path, Path]:
    """Where figures and picture go: into a run's folder, beside any other checkpoint or export."""
    if out is not None:
        return out, out.with_suffix(".png")
    if path.parent.name == "checkpoints":
        return path.parent.parent / _FILE, path.parent.parent / _PICTURE
    # An export is known by all that its folder holds, so nothing is added to it.
    name = path.resolve().name if path.is_dir() else path.stem
    return path.resolve().with_name(f"{name}.{_FILE}"), path.resolve().with_name(f"{name}.{_PICTURE}")


def _tokenizer(run: str, held: dict[str, Any]) -> Tokenizer:
    """The model of a run.

    Raises:
        ValueError: it cannot be built, or is no tokenizer.
    """
    from arlab.module import Module
    from arlab.runs.checkpoint import rebuild
    from arlab.tokenizers.tokenizer import Tokenizer

    try:
        model = rebuild(held, Module)
    except ValueError as error:
        raise ValueError(f"{run}: {error}") from error
    if not isinstance(model, Tokenizer):
        hint = "figures of generated images: make figures RUN=..."
        raise ValueError(f"{run}: is a {type(model).__name__}; evaluate measures tokenizers ({hint})")
    return model


def _part(spec: Any, split: str, facts: DataFacts) -> Part:
    """The images of a part of the data that a run was trained on.

    Raises:
        ValueError: they are not recorded, not there any more, or others.
    """
    from arlab.configurable import from_spec
    from arlab.data.loaders import LoadedData, Split
    from arlab.discovery import discover

    if spec is None:
        raise ValueError("run: does not say which data it was trained on, so there is nothing to measure it with")
    discover()
    data = from_spec(spec, LoadedData)
    contradiction = facts.contradiction(data.facts)
    if contradiction is not None:
        raise ValueError(f"run: its data are not what it was trained on any more; {contradiction}")
    return data.part(Split(split))


# ---- measuring


def _measure(options: argparse.Namespace, tokenizer: Tokenizer, spec: Any) -> Reconstructed:
    """The figures of the images that were asked for."""
    import torch

    from arlab.cli.progress import Progress
    from arlab.discovery import named
    from arlab.features.classifier import shipped
    from arlab.features.feature_network import FeatureNetwork
    from arlab.metrics.protocol import Protocol
    from arlab.metrics.reconstruction import evaluate_reconstruction
    from arlab.trained import find_device

    facts = tokenizer.facts
    network = shipped(facts.channels) if options.network is None else named(options.network, FeatureNetwork, "network")
    network.refuse(facts.channels)
    tokenizer.to(find_device(options.device))
    part = _part(spec, options.split, facts)
    count = len(part) if options.num_images is None else options.num_images
    if count > len(part):
        raise ValueError(f"num_images: the {options.split} part has {len(part)} images, got {count}")
    order_N = torch.randperm(len(part), generator=torch.Generator().manual_seed(options.seed))
    batches = math.ceil(count / options.batch_size)
    with Progress("batches") as progress:
        return evaluate_reconstruction(
            tokenizer,
            part,
            order_N[:count].sort().values,
            network=network,
            protocol=Protocol(split=options.split, seed=options.seed),
            batch_size=options.batch_size,
            on_batch=lambda: progress.step("measuring", batches),
        )


# ---- what is left of it


def _surroundings(tokenizer: Tokenizer) -> dict[str, Any]:
    """What speed depends on, and by what it was measured."""
    import torch

    import arlab

    device = tokenizer.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    machine = {"device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    return {"machine": machine, "arlab": arlab.__version__, "measured": datetime.now(UTC).isoformat(timespec="seconds")}


def _grid(measured: Reconstructed) -> Picture:
    """Rows of images, each above the row of their reconstructions."""
    import torch

    from arlab.images import image_grid

    columns = min(_COLUMNS, len(measured.image_BCHW))
    missing = -len(measured.image_BCHW) % columns
    both = []
    for image_BCHW in (measured.image_BCHW, measured.reconstruction_BCHW):
        filled_BCHW = torch.cat([image_BCHW, image_BCHW.new_ones(missing, *image_BCHW.shape[1:])])
        both.append(filled_BCHW.unflatten(0, (-1, columns)))
    rows_BCHW = torch.stack(both, 1).flatten(0, 2)
    return image_grid(rows_BCHW, columns, scale=max(1, _SHOWN_SIDE // int(rows_BCHW.shape[-2])))
