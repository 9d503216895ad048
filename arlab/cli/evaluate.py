"""``arlab evaluate``: the figures of a trained generator or tokenizer, each with its protocol beside."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from arlab.cli.image_size import sides
from arlab.cli.parser import Parser
from arlab.cli.sampling_options import KEYS, add_sampling, check_sampling
from arlab.plugins import load_found, load_named
from arlab.ranges import require
from arlab.runs.files import refuse_unwritable
from arlab.runs.resolve import FIGURES_FILE, figures_beside, resolve

_EXAMPLES = """\
  arlab evaluate runs/fashion/tokenizers/vq
  arlab evaluate runs/fashion/raster --num_images 5000 --guidance_scale 1.5
  arlab evaluate runs/emoji32/tokenizers/vq --split test --network EfficientNetLite0
  arlab evaluate RUN --network LPIPS vgg=vgg16.pth linear=vgg_linear.pth --out lpips.json
  arlab evaluate RUN --image_size 256 --network Inception weights=FILE
  arlab list feature_networks"""
_SPLITS = ("train", "validation", "test")
_MOST_IMAGES = 1_000_000
_OF_GENERATORS = (*KEYS, "features", "image_size")


@dataclass(frozen=True)
class Places:
    """Where figures and pictures go.

    Attributes:
        file: of the figures.
        prefix: of the pictures' names.
    """

    file: Path
    prefix: str

    def picture(self, name: str) -> Path:
        """Beside the figures."""
        return self.file.with_name(f"{self.prefix}{name}.png")


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="evaluate",
        description="Measure a generator or a tokenizer on its data. Of a generator: FID, KID, class agreement,\n"
        "precision, recall, density, coverage, nats, speed, memory, FLOPs, and the figures of its tokenizer.\n"
        "Of a tokenizer: PSNR, SSIM, perceptual distance, rFID, KID, codes, bits, speed.\n"
        f"Writes {FIGURES_FILE} and pictures into the run folder.",
        examples=_EXAMPLES,
    )
    options.add_argument("run", metavar="RUN", help="run folder, experiment folder, checkpoint or export")
    options.add_argument(
        "--split", choices=_SPLITS, default="validation", help="the part of the run's data (%(default)s)"
    )
    options.add_argument(
        "--num_images",
        type=int,
        metavar="N",
        help="to generate (as many as the part has, at most 10000); of a tokenizer, to measure (all)",
    )
    options.add_argument(
        "--network",
        nargs="+",
        metavar="WORD",
        help="a feature network, then its KEY=VALUE (FashionClassifier for gray images, EmojiClassifier for RGB)",
    )
    options.add_argument(
        "--image_size",
        type=int,
        nargs="+",
        metavar="N",
        help="pixels (height, width) that generated images are brought to, and real ones read at (the generator's)",
    )
    add_sampling(options)
    options.add_argument("--batch_size", type=int, default=64, metavar="N", help="images at a time (%(default)s)")
    options.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of all randomness, or of the choice of images (%(default)s)"
    )
    options.add_argument("--device", metavar="DEVICE", help="cpu, cuda, ... (the accelerator where there is one)")
    options.add_argument("--out", type=Path, metavar="FILE", help="JSON file, pictures beside it (in the run)")
    options.add_argument(
        "--features", type=Path, metavar="FOLDER", help="where features of real images are kept (runs/features)"
    )
    options.add_plugins()
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    options = parser().read(argv)
    _check(options)
    places = _places(resolve(options.run), options.out)
    refuse_unwritable("run" if options.out is None else "out", places.file)
    load_named(options.plugins)

    from arlab.cli.evaluate_generator import evaluate_generator
    from arlab.cli.evaluate_tokenizer import evaluate_tokenizer
    from arlab.compare.subject import open_subject
    from arlab.generators.generator import Generator
    from arlab.tokenizers.tokenizer import Tokenizer

    subject = open_subject(options.run)
    load_found()
    if isinstance(subject.model, Generator):
        evaluate_generator(options, subject, places)
    elif isinstance(subject.model, Tokenizer):
        _refuse_given(options, subject.run)
        evaluate_tokenizer(options, subject, subject.model, places)
    else:
        raise ValueError(f"{options.run}: is a {type(subject.model).__name__}; expected a generator or a tokenizer")
    return 0


def _check(options: argparse.Namespace) -> None:
    """See that numbers are in range and files can be written, before anything is read."""
    for key in ("batch_size", "num_images"):
        value = getattr(options, key)
        if value is not None:
            require(key, value, at_least=1, at_most=_MOST_IMAGES)
    require("seed", options.seed, at_least=0, below=2**63)
    if options.image_size is not None:
        sides(options.image_size)
    check_sampling(options)
    if options.out is not None:
        if options.out.suffix.lower() != ".json":
            raise ValueError(f"out: must be a .json file, got {options.out}")
        if options.out.is_dir():
            raise ValueError(f"out: {options.out} is a folder; name a .json file")
    if options.features is not None:
        refuse_unwritable("features", options.features / "any")


def _refuse_given(options: argparse.Namespace, run: str) -> None:
    """See that nothing was asked for of which a tokenizer makes nothing."""
    for key in _OF_GENERATORS:
        if getattr(options, key) is not None:
            raise ValueError(f"{key}: {run} is a tokenizer, which draws no images; leave it out")


def _places(path: Path, out: Path | None) -> Places:
    """Into a run's folder, beside any other checkpoint or export."""
    if out is not None:
        return Places(out, f"{out.stem}.")
    file = figures_beside(path)
    return Places(file, file.name.removesuffix(FIGURES_FILE))
