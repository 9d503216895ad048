"""``arlab export``: a trained model as a folder of safetensors and JSON."""

from __future__ import annotations

import tempfile
from pathlib import Path

from arlab.cli.parser import Parser
from arlab.runs.files import refuse_unwritable
from arlab.runs.hub import push, refuse_unpushable
from arlab.runs.resolve import resolve

_EXAMPLES = """\
  arlab export runs/fashion/raster --out exports/raster
  arlab sample exports/raster
  arlab export runs/fashion/raster --push OWNER/NAME"""


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="export",
        description="Write a trained model, with its averaged weights, as safetensors and JSON (no pickle),\n"
        "with a card (README.md), and upload it to the Hugging Face Hub where that is asked for.",
        examples=_EXAMPLES,
    )
    options.add_argument("run", metavar="RUN", help="run folder, experiment folder, checkpoint or export")
    options.add_argument(
        "--out", type=Path, metavar="FOLDER", help="a new or empty folder; may be left out with --push"
    )
    options.add_argument(
        "--push", metavar="OWNER/NAME", help="upload it to this repository, which is made where there is none"
    )
    options.add_argument(
        "--public", action="store_true", help="a repository made now is for everybody, not for you alone"
    )
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    options = parser().read(argv)
    if options.out is None and options.push is None:
        raise ValueError("the following arguments are required: --out or --push (see arlab export --help)")
    if options.public and options.push is None:
        raise ValueError("public: has no effect without --push OWNER/NAME")
    if options.out is not None:
        refuse_unwritable("out", options.out)
    if options.push is not None:
        refuse_unpushable(options.push)
    run = resolve(options.run)

    from arlab.runs.export import export

    with tempfile.TemporaryDirectory() as scratch:
        folder = export(run, options.out or Path(scratch) / "export", name=options.push)
        files = sorted(folder.iterdir())
        size = sum(path.stat().st_size for path in files)
        told = f"{size / 2**20:.3g} MiB: {', '.join(path.name for path in files)}"
        # Each place is told once the files are there.
        if options.out is not None:
            print(f"{options.out}  {told}", flush=True)
        if options.push is not None:
            print(f"{push(folder, options.push, private=not options.public)}  {told}")
    return 0
