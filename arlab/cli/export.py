"""``arlab export``: a trained model as a folder of safetensors and JSON."""

from __future__ import annotations

from pathlib import Path

from arlab.cli.parser import Parser
from arlab.runs.files import refuse_unwritable
from arlab.runs.resolve import resolve

_EXAMPLES = """\
  arlab export runs/fashion/raster --out exports/raster
  arlab sample exports/raster"""


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="export",
        description="Write a trained model, with its averaged weights, as safetensors and JSON (no pickle).",
        examples=_EXAMPLES,
    )
    options.add_argument("run", metavar="RUN", help="run folder, experiment folder, checkpoint or export")
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    options = parser().read(argv)
    refuse_unwritable("out", options.out)
    run = resolve(options.run)

    from arlab.runs.export import export

    folder = export(run, options.out)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}  {size / 2**20:.3g} MiB: {', '.join(sorted(path.name for path in folder.iterdir()))}")
    return 0
