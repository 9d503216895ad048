"""Runs that go wrong on purpose, and what docs/reading-a-run.md shows of them: python -m tests.benchmarks.bad_runs.

Trains, below ``runs/`` of the working directory, what of ``COMMANDS`` is not there yet (the main job included: within
an hour on 2 busy CPU cores), prints the page's figures, and draws its plots into ``--images``. Parts of the page are
made alone by naming them: python -m tests.benchmarks.bad_runs guidance labels.

Letters: B images drawn, M images of a set, N tokens of an image, C channels, H and W sides.
"""

from __future__ import annotations

import argparse
import io
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

import arlab
from arlab.cli.main import main as run_arlab
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.stream import Images, normalised
from arlab.features.classifier import fashion_classifier
from arlab.generators.generator import Generator
from arlab.images import image_grid
from arlab.runs.files import written_whole
from arlab.trained import Trained
from tests.benchmarks.generation_figures import generated

RASTER, VQ = "--config experiments/fashion/raster.yaml", "--config experiments/fashion/tokenizers/vq.yaml"
COMMANDS = {
    "fashion/raster": RASTER,
    "bad/collapsed": f"{VQ} --model.quantizer.revive_below 0 --trainer.max_steps 400 --trainer.val_check_interval 100",
    "bad/revived": f"{VQ} --ckpt_path runs/bad/collapsed --trainer.max_steps 800 --trainer.val_check_interval 50",
    "bad/memorised": f"{RASTER} --data.validation_size 4700 --trainer.limit_val_batches 8"
    " --trainer.val_check_interval 100 --trainer.log_every_n_steps 10",
    "bad/augmented": f"{RASTER} --data.validation_size 4700 --model.backbone.dropout 0.3"
    " --data.transforms '[{class_path: RandomCrop, init_args: {min_scale: 0.8}}, RandomFlip]'"
    " --trainer.limit_val_batches 8 --trainer.val_check_interval 100 --trainer.log_every_n_steps 10",
    "bad/shuffled": f"{RASTER} --data ImageArrays --data.file data/shuffled.npz --trainer.log_every_n_steps 10",
    "bad/shifted": f"{RASTER} --data ImageArrays --data.file data/shifted.npz --trainer.max_steps 300",
    "bad/too_fast": f"{VQ} --model.optimizer.learning_rate 3 --trainer.max_steps 100 --trainer.log_every_n_steps 1",
    "bad/nan": f"{VQ} --model.optimizer.learning_rate 2.0e3 --trainer.log_every_n_steps 1",
    "bad/overfit": f"{RASTER} --config experiments/debug/overfit.yaml",
}
_SEED = 0


def train(experiment: str) -> None:
    """Train what is not trained yet; bad/nan stops with an error, as it should."""
    name = [] if experiment.startswith("fashion") else ["--experiment", experiment]
    if not run_folders(experiment):
        run_arlab(["fit", *shlex.split(COMMANDS[experiment]), *name])


def write_arrays(folder: Path) -> None:
    """The embedded images with labels shuffled, and with every label one too high; test labels stay right."""
    folder.mkdir(exist_ok=True)
    parts = FashionMNIST().parts
    image = torch.cat([parts.train.pixel_NCHW, parts.validation.pixel_NCHW])[:, 0].numpy()
    label = torch.cat([parts.train.label_N, parts.validation.label_N]).numpy()
    test = {"x_test": parts.test.pixel_NCHW[:, 0].numpy(), "y_test": parts.test.label_N.numpy()}
    for name, wrong in (("shuffled", np.random.default_rng(0).permutation(label)), ("shifted", (label + 1) % 10)):
        if not (folder / f"{name}.npz").is_file():
            np.savez_compressed(folder / f"{name}.npz", x_train=image, y_train=wrong, **test)


# ---- what a run left


def run_folders(experiment: str) -> list[Path]:
    """Its runs, the newest last."""
    return [path.parent for path in sorted(Path("runs", experiment).glob("*/logs"), key=lambda it: it.stat().st_mtime)]


def curve(experiment: str, tag: str) -> tuple[list[int], list[float]]:
    """Steps and values of what was logged, as TensorBoard shows them."""
    events = EventAccumulator(str(run_folders(experiment)[-1] / "logs"), size_guidance={"scalars": 0}).Reload()
    return [each.step for each in events.Scalars(tag)], [each.value for each in events.Scalars(tag)]


def loaded(experiment: str, checkpoint: str = "best") -> Trained:
    """The model of a run."""
    return arlab.load(run_folders(experiment)[-1] / f"checkpoints/{checkpoint}.ckpt")


def pixels(images: Images) -> Tensor:
    """All of them, (M, C, H, W) in [-1, 1]."""
    return normalised(images.pixel_NCHW, images.levels)


@torch.no_grad()
def nats(trained: Trained, images: Images, *, with_class: bool = True) -> float:
    """Nats per token of images with their classes, or with 'no class' for all of them."""
    generator = trained.model
    assert isinstance(generator, Generator)
    label_M = images.label_N if with_class else generator.conditioner.null(images.label_N)
    log_prob_MN = generator.log_prob(trained.encode(pixels(images)), label_M)
    assert log_prob_MN is not None
    return -float(log_prob_MN.mean())


# ---- the parts of the page


def codebook() -> Figure:
    """A healthy codebook, one whose unused codes stay unused, and the same mended."""
    runs = {"healthy": "fashion/tokenizers/vq", "collapsed": "bad/collapsed", "mended": "bad/revived"}
    figure, (usages, perplexities, pictures) = _row(1, 1, 1.2)
    image_BCHW = pixels(FashionMNIST().parts.test[:6])
    rows = {"real": image_BCHW}
    for name, experiment in runs.items():
        usages.plot(*curve(experiment, "train/usage"), marker=".", label=name)
        perplexities.plot(*curve(experiment, "val/perplexity"), marker=".", label=name)
        rows[name] = loaded(experiment).reconstruct(image_BCHW)
        for step, psnr, usage, perplexity in zip(
            *curve(experiment, "val/psnr"),
            curve(experiment, "val/usage")[1],
            curve(experiment, "val/perplexity")[1],
            strict=True,
        ):
            print(f"{name:<10} step {step:>4}: psnr {psnr:.2f}, usage {usage:.3f}, perplexity {perplexity:.0f}")
    usages.set(title="train/usage", xlabel="step", ylim=(0, 1.05))
    perplexities.set(title="val/perplexity", xlabel="step", ylim=(0, 512))
    usages.legend()
    _show(pictures, rows, "reconstructions of test images")
    return figure


def guidance() -> Figure:
    """One healthy generator at four guidance scales."""
    scales = (1.0, 2.0, 5.0, 10.0)
    trained, network, test = loaded("fashion/raster"), fashion_classifier(), FashionMNIST().parts.test
    rows = [generated(trained, network, test, scale, 1000, _SEED) for scale in scales]
    print(*rows, sep="\n")
    figure, (pictures, figures) = _row(1.9, 1)
    drawn = {f"{scale:g}": trained.sample(num_images=10, guidance_scale=scale, seed=_SEED).images for scale in scales}
    _show(pictures, drawn, "the same seeds at guidance 1, 2, 5 and 10")
    for name in ("agreement", "precision", "recall"):
        figures.plot(scales, [getattr(row.figures, name) for row in rows], marker=".", label=name)
    figures.set(xlabel="guidance", ylim=(0, 1), title="1,000 images")
    figures.legend()
    return figure


def memorisation() -> Figure:
    """The same generator on 4,500 images, on 300 of them, and on 300 that are changed a little every time."""
    figure, (losses, *pictures) = _row(1, 0.85, 0.85)
    runs = {"4,500 images": "fashion/raster", "300 images": "bad/memorised", "300, augmented": "bad/augmented"}
    for colour, (name, experiment) in enumerate(runs.items()):
        losses.plot(*curve(experiment, "train/loss"), f"C{colour}:")
        losses.plot(*curve(experiment, "val/loss"), f"C{colour}.-", label=name)
    losses.set(title="train/loss (dotted), val/loss", xlabel="step", ylabel="nats per token", ylim=(0, 9))
    losses.legend(loc="upper left")
    network, parts = fashion_classifier(), FashionMNIST().parts
    few = FashionMNIST(validation_size=4700).parts.train
    cases = {
        "healthy, best.ckpt": (loaded("fashion/raster"), parts.train),
        "memorised, last.ckpt": (loaded("bad/memorised", "last"), few),
        "memorised, best.ckpt": (loaded("bad/memorised"), few),
        "augmented, best.ckpt": (loaded("bad/augmented"), few),
    }
    for number, (name, (trained, training)) in enumerate(cases.items()):
        drawn = trained.sample(num_images=200, seed=_SEED, batch_size=100)
        known_MN = torch.cat([trained.encode(part) for part in pixels(training).split(500)])
        same_B, nearest_B = _tokens_in_common(drawn.tokens, known_MN)
        test_B, _ = _tokens_in_common(trained.encode(pixels(parts.test[:200])), known_MN)
        print(
            f"{name}: of 49 tokens in common with a training image: samples {49 * same_B.mean():.1f}, test images "
            f"{49 * test_B.mean():.1f}; copies {(same_B == 1).float().mean():.3f}; nats per token of 300 training "
            f"images {nats(trained, training[:300]):.3f}, of the test images {nats(trained, parts.test):.3f}"
        )
        print(generated(trained, network, parts.test, 2.0, 1000, _SEED))
        if number < len(pictures):
            nearest = trained.decode(known_MN[nearest_B])
            rows = {" sample": drawn.images[:7], " nearest": nearest[:7], "sample": drawn.images[10:17]}
            _show(pictures[number], rows | {"nearest": nearest[10:17]}, name)
    return figure


def labels() -> Figure:
    """Labels that are right, that are one too high, and that have nothing to do with their images."""
    network, test, names = fashion_classifier(), FashionMNIST().parts.test, FashionMNIST().facts.class_names
    runs = {"healthy": "fashion/raster", "shifted by one": "bad/shifted", "shuffled": "bad/shuffled"}
    figure, axes = _row(1.15, 1, 1, width=8, height=3.4)
    for axis, (name, experiment) in zip(axes, runs.items(), strict=True):
        trained = loaded(experiment)
        print(f"{name}: {generated(trained, network, test, 2.0, 1000, _SEED)}")
        print(f"  nats per token {nats(trained, test):.3f}, without class {nats(trained, test, with_class=False):.3f}")
        rows = [
            trained.sample(classes=[label], num_images=4, guidance_scale=2.0, seed=label).images
            for label in range(len(names))
        ]
        shown = names if axis is axes[0] else [" " * (label + 1) for label in range(len(names))]
        _show(axis, dict(zip(shown, rows, strict=True)), name)
    return figure


def learning_rate() -> Figure:
    """A tokenizer at its learning rate, and far above."""
    figure, (losses,) = _row(1, width=5)
    for name, experiment in {"0.002": "fashion/tokenizers/vq", "3": "bad/too_fast", "2000": "bad/nan"}.items():
        losses.plot(
            *curve(experiment, "train/loss"), label=f"learning rate {name}", marker="." if name == "2000" else ""
        )
    losses.set(xlabel="step", ylabel="train/loss", yscale="log", xlim=(-2, 100))
    losses.legend()
    return figure


def overfit() -> Figure:
    """One batch, learnt by heart."""
    figure, (losses, pictures) = _row(1, 1.6)
    for tag in ("train/loss", "val/loss"):
        losses.plot(*curve("bad/overfit", tag), marker=".", label=tag)
        print(tag, *(f"{value:.4f} at {step}" for step, value in zip(*curve("bad/overfit", tag), strict=True)))
    losses.set(xlabel="step", ylabel="nats per token", ylim=(0, None))
    losses.legend()
    trained, batch = loaded("bad/overfit"), next(iter(FashionMNIST().train_dataloader()))
    known_MN, drawn = trained.encode(batch.image), trained.sample(num_images=200, seed=_SEED, batch_size=100)
    same_B, nearest_B = _tokens_in_common(drawn.tokens, known_MN)
    copies = (same_B == 1).float().mean()
    print(f"of 49 tokens in common with an image of the batch: {49 * same_B.mean():.1f}; copies {copies:.3f}")
    nearest = trained.decode(known_MN[nearest_B])
    rows = {" sample": drawn.images[:8], " nearest": nearest[:8], "sample": drawn.images[10:18]}
    _show(pictures, rows | {"nearest": nearest[10:18]}, "samples of best.ckpt over the nearest image of the batch")
    return figure


PARTS: dict[str, Callable[[], Figure]] = {
    part.__name__: part for part in (codebook, guidance, memorisation, labels, learning_rate, overfit)
}


# ---- drawing


def _row(*widths: float, width: float = 10, height: float = 2.8) -> tuple[Figure, Sequence[Axes]]:
    figure, axes = plt.subplots(1, len(widths), figsize=(width, height), width_ratios=widths, squeeze=False)
    return figure, list(axes[0])


def _show(axis: Axes, rows: dict[str, Tensor], title: str) -> None:
    """Images in rows, each with its name."""
    picture = image_grid(torch.cat(list(rows.values())), columns=len(next(iter(rows.values()))))
    axis.imshow(picture, interpolation="nearest")
    height = picture.shape[0] / len(rows)
    axis.set_yticks([height * (row + 0.5) for row in range(len(rows))], list(rows))
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.set_title(title)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _tokens_in_common(tokens_BN: Tensor, known_MN: Tensor) -> tuple[Tensor, Tensor]:
    """With the training image that shares most: the share of tokens in common, and which image it is."""
    same_BM = torch.stack([(tokens_N == known_MN).float().mean(1) for tokens_N in tokens_BN])
    best = same_BM.max(1)
    return best.values, best.indices


def _save(figure: Figure, path: Path) -> None:
    """As a small PNG: 160 colours are enough for gray pictures and a few lines."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=100)
    plt.close(figure)
    with written_whole(path) as draft:
        Image.open(drawn).convert("RGB").quantize(160, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            draft, "PNG", optimize=True
        )
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Train what is missing, print figures, draw plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all by default: {', '.join(PARTS)}")
    parser.add_argument("--images", type=Path, default=Path("docs/images/reading"))
    parser.add_argument("--no-train", dest="train", action="store_false", help="only show what is there")
    arguments = parser.parse_args()
    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 8, "figure.constrained_layout.use": True, "legend.fontsize": 7})
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        raise SystemExit(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    if arguments.train:
        write_arrays(Path("data"))
        for experiment in COMMANDS:
            train(experiment)
    for name in arguments.parts or PARTS:
        print(f"---- {name}")
        _save(PARTS[name](), arguments.images / f"{name}.png")


if __name__ == "__main__":
    main()
