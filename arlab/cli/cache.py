"""``arlab cache``: the tokens of an image set, written once for many trainings."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arlab.cli.arguments import parse
from arlab.cli.config import Tree, find, overlay
from arlab.cli.parser import Parser
from arlab.runs.files import refuse_unwritable
from arlab.runs.resolve import load_model, read, resolve

if TYPE_CHECKING:
    from arlab.data.loaders import LoadedData
    from arlab.data.token_manifest import Manifest
    from arlab.tokenizers.tokenizer import Tokenizer

_EXAMPLES = """\
  arlab cache runs/fashion/tokenizers/vq --out cache/fashion
  arlab cache RUN --data experiments/folder/raster.yaml --data.root my_images --views 8 --out cache/mine
  arlab fit --config experiments/fashion/raster.yaml --data CachedTokens --data.folder cache/fashion"""
_DTYPES = ("float32", "float16")


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="cache",
        description="Write the tokens of an image set to a folder; generators train on it (--data CachedTokens).",
        examples=_EXAMPLES,
    )
    options.add_argument("run", metavar="RUN", help="of a tokenizer, or of a generator that has one")
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new folder")
    options.add_argument(
        "--data",
        metavar="DATA",
        help="a configuration file or a class; --data.KEY VALUE for its options (what RUN was trained on)",
    )
    options.add_argument(
        "--views", type=int, default=1, metavar="K", help="of randomly transformed training images (%(default)s)"
    )
    options.add_argument("--dtype", choices=_DTYPES, help="what vectors are stored as (float32)")
    options.add_argument("--device", metavar="DEVICE", help="cpu, cuda, ... (the accelerator where there is one)")
    options.add_argument("--overwrite", action="store_true", help="replace another cache that lies in FOLDER")
    options.add_plugins()
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    words, dotted = _split(argv)
    options = parser().read(words)
    refuse_unwritable("out", options.out)
    resolved = resolve(options.run)

    import torch

    from arlab.cli.progress import Progress
    from arlab.cli.quiet import quiet
    from arlab.discovery import discover
    from arlab.plugins import load_found, load_named
    from arlab.tokenizers.caching import Caching
    from arlab.trained import find_device

    quiet()
    discover()
    load_named(options.plugins)
    tokenizer = _tokenizer(options.run)
    load_found()
    caching = Caching(
        tokenizer=tokenizer,
        data=_data(options.run, options.data, dotted),
        # An experiment's newest run may be another tomorrow.
        run=str(resolved.parent.parent if resolved.parent.name == "checkpoints" else resolved),
        views=options.views,
        dtype=None if options.dtype is None else getattr(torch, options.dtype),
    )
    device = find_device(options.device)
    held = None if options.overwrite else caching.found(options.out)
    if held is not None:
        print(f"finished already: {options.out}  {_summary(held)}")
        return 0
    caching.tokenizer.to(device)
    start = time.perf_counter()
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with Progress("images") as progress:

            def advance(part: str, done: int, total: int) -> None:
                progress.advance(f"tokenizing {part}", done, total)

            made = caching.write(options.out, advance, overwrite=options.overwrite)
    except (KeyboardInterrupt, _Terminated) as stopped:
        by_hand = isinstance(stopped, KeyboardInterrupt)
        name, number = ("Ctrl-C", signal.SIGINT) if by_hand else ("SIGTERM", signal.SIGTERM)
        print(f"arlab: stopped by {name}, nothing was written", file=sys.stderr)
        return 128 + number
    finally:
        signal.signal(signal.SIGTERM, before)
    images = sum(part.images * part.views for part in made.parts.values())
    print(f"{options.out}  {_summary(made)}; {images / (time.perf_counter() - start):.3g} images/s")
    return 0


class _Terminated(BaseException):
    """SIGTERM, on its way through what must be cleaned up."""


def _stop(number: int, frame: object) -> None:
    raise _Terminated


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """``--data.KEY VALUE`` apart from the rest."""
    rest: list[str] = []
    dotted: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--data."):
            rest.append(word)
            continue
        dotted.append(word)
        if "=" not in word and words and not words[0].startswith("--"):
            dotted.append(words.pop(0))
    return rest, dotted


def _tokenizer(run: str) -> Tokenizer:
    """The tokenizer of a RUN.

    Raises:
        ValueError: there is none.
    """
    from arlab.generators.generator import Generator
    from arlab.module import Module
    from arlab.tokenizers.tokenizer import Tokenizer

    model = load_model(run, Module)
    if isinstance(model, Generator):
        return model.tokenizer.module
    if not isinstance(model, Tokenizer):
        raise ValueError(f"{run}: is a {type(model).__name__}, expected a tokenizer or a generator")
    return model


def _data(run: str, named: str | None, dotted: list[str]) -> LoadedData:
    """The data that are named, else those a RUN was trained on, with the options that are given.

    Raises:
        ValueError: they are none, or have other options.
    """
    from arlab.cli import schema
    from arlab.configurable import from_spec
    from arlab.data.data import ImageData
    from arlab.data.loaders import LoadedData
    from arlab.plugins import load_named
    from arlab.runs.checkpoint import KEY

    words = [] if named is None else ["--config" if named.endswith((".yaml", ".yml")) else "--data", named]
    request = parse(["cache", *words, *dotted])
    load_named(find(file, request.folders) or file for file in request.tree.get("plugins") or [])
    tree: Tree = {"data": request.tree.get("data")}
    if named is None:
        recorded: Any = read(run)[KEY].get("data")
        if recorded is None:
            raise ValueError(
                f"data: missing; {run} does not say what it was trained on, give --data FILE or --data NAME"
            )
        tree = overlay({"data": recorded}, {"data": tree["data"]} if dotted else {}, [])
    if tree["data"] is None:
        raise ValueError(f"data: {named} names none")
    data = from_spec(schema.resolve(tree["data"], ImageData, "data"), ImageData, "data")
    if not isinstance(data, LoadedData):
        raise ValueError(f"data: {type(data).__name__} gives no images by their number (it is no LoadedData)")
    return data


def _summary(made: Manifest) -> str:
    """What a cache holds."""
    parts = [
        f"{part.images}{f' x {part.views} views' if part.views > 1 else ''} {name}" for name, part in made.parts.items()
    ]
    tokens = " x ".join(map(str, made.shape))
    of = "" if made.codebook_size is None else f" of {made.codebook_size} codes"
    return f"{', '.join(parts)} images; {tokens} tokens{of} in {made.dtype}; {made.size / 2**20:.3g} MiB"
