"""What guidance does to a run, as a picture: python -m tests.benchmarks.guidance_sweep RUN RUN ... --picture FILE.

A panel per run: Fréchet distance and agreement with the class over the guidance scale, and below it the same images at
each scale, from left to right, an image of a class in each line. The runs must be of one embedded data set; images are
compared with its test images, and are of their classes, in the features of the shipped classifier.

Letters: B images, C channels, H and W sides, S guidance scales.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import torch

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import arlab
from arlab.data.stream import Images
from arlab.features.classifier import shipped
from arlab.generators.generator import Generator
from arlab.images import image_grid, to_uint8
from arlab.metrics.generation import GenerationFigures, evaluate_generation
from arlab.metrics.protocol import Protocol
from tests.benchmarks.pair_table import embedded_data

_SCALES = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
_BATCH = 100
_LINES = 5


def panel(run: str, num_images: int, curves: Axes, images: Axes) -> list[GenerationFigures]:
    """Draw a run's panel; what was measured at each scale."""
    trained = arlab.load(run)
    generator = trained.model
    assert isinstance(generator, Generator)
    data = embedded_data(trained)
    network = shipped(data.facts.channels).load()
    test = data.parts.test
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[:num_images]
    classes = test.batch(order, known=True).label.tolist()
    lines = [classes.index(label) for label in sorted(set(classes))[:_LINES]]
    figures, shown = [], []
    for scale in _SCALES:
        drawn = trained.sample(classes=classes, num_images=num_images, guidance_scale=scale, seed=0, batch_size=_BATCH)
        made = Images(to_uint8(drawn.images), drawn.labels)
        protocol = Protocol(split="test", guidance_scale=scale, seed=0)
        figures.append(evaluate_generation(network, test, made, protocol))
        shown.append(drawn.images[lines])
    told = f"{type(generator.ordering).__name__}, {type(generator.head).__name__}"
    curves.set_title(told, fontsize=9)
    curves.plot(_SCALES, [each.frechet for each in figures], "o-", color="tab:blue", label=figures[0].fid_name)
    curves.set_ylim(0, 1.1 * max(each.frechet for each in figures))
    curves.set_xscale("log")
    curves.set_xticks(_SCALES, [f"{scale:g}" for scale in _SCALES])
    curves.minorticks_off()
    curves.tick_params(labelsize=7)
    beside = curves.twinx()
    beside.plot(_SCALES, [each.agreement for each in figures], "s--", color="tab:orange", label="agreement")
    beside.set_ylim(0, 1)
    beside.tick_params(labelsize=7)
    drawn_lines = [*curves.get_lines(), *beside.get_lines()]
    curves.legend(drawn_lines, [str(line.get_label()) for line in drawn_lines], fontsize=6, loc="lower right")
    grid = image_grid(torch.stack(shown, 1).flatten(0, 1), columns=len(_SCALES), scale=2)
    images.imshow(grid, interpolation="nearest", aspect="equal")
    images.set_xticks([(k + 0.5) * grid.shape[1] / len(_SCALES) for k in range(len(_SCALES))])
    images.set_xticklabels([f"{scale:g}" for scale in _SCALES], fontsize=7)
    names = [trained.facts.class_names[classes[line]] for line in lines]
    images.set_yticks([(k + 0.5) * grid.shape[0] / len(lines) for k in range(len(lines))], names, fontsize=6)
    return figures


def main() -> None:
    """Write the picture and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", nargs="+", help="run folder, experiment folder, checkpoint or export")
    parser.add_argument("--num_images", type=int, default=400, help="per scale")
    parser.add_argument("--picture", type=Path, required=True)
    arguments = parser.parse_args()
    count = len(arguments.run)
    figure, axes = plt.subplots(2, count, figsize=(3.2 * count, 5.2), squeeze=False, height_ratios=(1, 1.3))
    for number, run in enumerate(arguments.run):
        rows = panel(run, arguments.num_images, axes[0][number], axes[1][number])
        for scale, row in zip(_SCALES, rows, strict=True):
            print(
                f"{run}  scale {scale:g}  {row.fid_name} {row.frechet:.2f}  agreement {row.agreement:.3f}", flush=True
            )
    figure.tight_layout()
    figure.savefig(arguments.picture, dpi=110)


if __name__ == "__main__":
    main()
