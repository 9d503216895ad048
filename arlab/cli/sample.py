"""``arlab sample``: images from a trained generator, by one command and without any configuration file.

Letters: B images, C channels, H and W image sides.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from arlab.cli.parser import Parser
from arlab.cli.sampling_options import add_sampling, check_sampling, drawing_of
from arlab.plugins import load_found, load_named
from arlab.ranges import require
from arlab.runs.files import refuse_unwritable
from arlab.runs.resolve import load_model, resolve

if TYPE_CHECKING:
    from arlab.generators.sampler import Partial

_EXAMPLES = """\
  arlab sample runs/fashion/raster
  arlab sample runs/fashion/raster --classes sneaker dress --num_images 16 --guidance_scale 2 --out shoes.png
  arlab sample RUN --steps_out growing.gif"""


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="sample", description="Generate images with a trained model, write them as a grid.", examples=_EXAMPLES
    )
    options.add_argument("run", metavar="RUN", help="run folder, experiment folder, checkpoint or export")
    options.add_argument("--num_images", type=int, default=64, metavar="N", help="images in all (%(default)s)")
    options.add_argument("--classes", nargs="+", metavar="CLASS", help="indices or names, taken in turn (all)")
    add_sampling(options)
    options.add_argument("--seed", type=int, default=0, metavar="N", help="of all randomness (%(default)s)")
    options.add_argument(
        "--patch_nums",
        nargs="+",
        metavar="N|HxW",
        help="other levels, coarse to fine, than the model was trained on, and so other sizes (FlexVAR)",
    )
    options.add_argument("--batch_size", type=int, default=64, metavar="N", help="images at a time (%(default)s)")
    options.add_argument("--device", metavar="DEVICE", help="cpu, cuda, ... (the accelerator where there is one)")
    options.add_argument("--out", type=Path, default=Path("grid.png"), metavar="FILE", help="PNG file (%(default)s)")
    options.add_argument("--columns", type=int, metavar="N", help="images in a row (about as many as rows)")
    options.add_argument("--scale", type=int, metavar="N", help="enlarge N times (to about 64 pixels)")
    options.add_argument(
        "--steps_out", type=Path, metavar="PATH", help="also the images after each step: a .gif file or a new folder"
    )
    options.add_plugins()
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    options = parser().read(argv)
    _check(options)
    run = resolve(options.run)

    from arlab.cli.film import Film
    from arlab.cli.progress import Progress
    from arlab.generators.generator import Generator
    from arlab.trained import Trained

    load_named(options.plugins)
    trained = Trained(load_model(run, Generator))
    load_found()
    drawing = drawing_of(options)
    film = None if options.steps_out is None else Film()
    batches = math.ceil(options.num_images / max(1, options.batch_size))
    with Progress("steps") as progress:

        def on_step(partial: Partial) -> None:
            progress.step("sampling", batches * partial.progress.steps)
            if film is not None:
                film.add(partial)

        start = time.perf_counter()
        pictures = trained.sample(
            classes=options.classes,
            num_images=options.num_images,
            guidance_scale=drawing.guidance_scale,
            guidance=drawing.guidance,
            seed=options.seed,
            temperature=drawing.temperature,
            top_k=drawing.top_k,
            top_p=drawing.top_p,
            patch_nums=None if options.patch_nums is None else [_sides(word) for word in options.patch_nums],
            batch_size=options.batch_size,
            device=options.device,
            on_step=on_step,
        )
        speed = options.num_images / (time.perf_counter() - start)
    path = pictures.save(options.out, options.columns, options.scale)
    print(f"{path}  {options.num_images} images, {speed:.3g} images/s")
    if film is not None:
        count = film.save(options.steps_out, pictures.labels, options.columns, options.scale)
        print(f"{options.steps_out}  {count} steps")
    return 0


def _sides(word: str) -> int | list[int]:
    """7, or 7x5, one number per axis."""
    if not all(side.isdecimal() for side in word.split("x")):
        raise ValueError(f"patch_nums: expected sizes such as 7 or 7x5, got {word!r}")
    sides = [int(side) for side in word.split("x")]
    return sides if len(sides) > 1 else sides[0]


def _check(options: argparse.Namespace) -> None:
    """See that what was asked for can be drawn and written, before anything is computed."""
    for word in options.patch_nums or ():
        _sides(word)
    check_sampling(options)
    if options.out.suffix.lower() != ".png":
        raise ValueError(f"out: must be a .png file, got {options.out}")
    if options.out.is_dir():
        raise ValueError(f"out: {options.out} is a folder; name a .png file")
    refuse_unwritable("out", options.out)
    for key in ("columns", "scale"):
        value = getattr(options, key)
        if value is not None:
            require(key, value, at_least=1)
    folder = options.steps_out
    if folder is not None and folder.suffix.lower() != ".gif" and folder.exists():
        if not folder.is_dir():
            raise ValueError(f"steps_out: must be a .gif file or a folder, got {folder}")
        if any(folder.iterdir()):
            raise ValueError(f"steps_out: {folder} is not empty; name another folder or a .gif file")
    if folder is not None:
        refuse_unwritable("steps_out", folder)
