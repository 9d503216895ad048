"""How good the images of a trained generator are: python -m tests.benchmarks.generation_figures RUN.

Generated Fashion-MNIST images are compared with the 1,000 real test images, a row per guidance scale. Two rows of
anchors stand above: real training images, what a perfect generator would get, and reconstructions of the test images,
what the tokenizer lets through. The feature network has seen the training images, so the ceiling of agreement is that
of the real test images, printed first.

Letters: N images.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch

import arlab
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.stream import Images
from arlab.features.classifier import FeatureClassifier, fashion_classifier
from arlab.generators.generator import Generator
from arlab.images import to_uint8
from arlab.metrics.generation import GenerationFigures, evaluate_generation, real_anchor
from arlab.metrics.protocol import Protocol
from arlab.runs.files import write_text
from arlab.trained import Trained

_BATCH = 250


@dataclass(frozen=True)
class Row:
    """One line of the table; images a second where they were generated."""

    name: str
    figures: GenerationFigures
    images_per_second: float | None = None

    def __str__(self) -> str:
        f = self.figures
        speed = "" if self.images_per_second is None else f"{self.images_per_second:.0f}"
        return f"{self.name:<26}{f.agreement:>10.3f}{f.frechet:>10.2f}{f.precision:>11.3f}{f.recall:>8.3f}{speed:>10}"


def anchors(trained: Trained, network: FeatureClassifier, data: FashionMNIST, num_images: int) -> list[Row]:
    """Real training images, and the test images after their way through the tokenizer."""
    train, test = data.parts.train, data.parts.test
    image_NCHW = test.batch(torch.arange(len(test)), known=False).image
    reconstruction_NCHW = torch.cat([trained.reconstruct(part).cpu() for part in image_NCHW.split(_BATCH)])
    reconstructed = Images(to_uint8(reconstruction_NCHW), test.label_N)
    return [
        Row("real training images", real_anchor(network, test, train[:num_images], "test against train")),
        Row("reconstructed test images", evaluate_generation(network, test, reconstructed, Protocol(split="test"))),
    ]


def generated(
    trained: Trained, network: FeatureClassifier, real: Images, guidance_scale: float, num_images: int, seed: int
) -> Row:
    """Generate, all classes in turn, and compare."""
    generator = trained.model
    if not isinstance(generator, Generator):
        raise SystemExit(f"RUN: is a {type(generator).__name__}, expected a Generator")
    start = time.perf_counter()
    drawn = trained.sample(num_images=num_images, guidance_scale=guidance_scale, seed=seed, batch_size=_BATCH)
    seconds = time.perf_counter() - start
    protocol = Protocol(
        split="test",
        guidance_scale=guidance_scale,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        seed=seed,
        ema=generator.ema_decay > 0,
        dtype=str(generator.dtype).removeprefix("torch."),
        device=str(generator.device),
    )
    figures = evaluate_generation(network, real, Images(to_uint8(drawn.images), drawn.labels), protocol)
    return Row(f"guidance {guidance_scale:g}", figures, num_images / seconds)


def main() -> None:
    """Print the table and the protocol; write both as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="run folder, experiment folder, checkpoint or export")
    parser.add_argument("--guidance_scale", type=float, nargs="+", default=[1.0, 1.5, 2.0, 3.0])
    parser.add_argument("--num_images", type=int, default=1000, help="per guidance scale")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="the file to write figures and protocols to")
    arguments = parser.parse_args()

    trained, network, data = arlab.load(arguments.run), fashion_classifier(), FashionMNIST()
    contradiction = trained.facts.contradiction(data.facts)
    if contradiction is not None:
        raise SystemExit(f"RUN: made for other data than FashionMNIST; {contradiction}")
    rows = anchors(trained, network, data, arguments.num_images)
    first = rows[0].figures
    print(f"{arguments.run}: agreement of the real test images {first.real_agreement:.3f}")
    print(f"{'':<26}{'agreement':>10}{first.fid_name:>10}{'precision':>11}{'recall':>8}{'images/s':>10}")
    for row in rows:
        print(row)
    for scale in arguments.guidance_scale:
        rows.append(generated(trained, network, data.parts.test, scale, arguments.num_images, arguments.seed))
        print(rows[-1], flush=True)
    print(f"protocol of the last row ({_BATCH} images at a time, {torch.get_num_threads()} threads):")
    print(rows[-1].figures.protocol.to_json())
    if arguments.json is not None:
        table = [
            {"name": row.name, "images_per_second": row.images_per_second, **json.loads(row.figures.to_json())}
            for row in rows
        ]
        write_text(arguments.json, json.dumps({"run": arguments.run, "rows": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
