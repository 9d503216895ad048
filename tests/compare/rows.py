"""Rows of a comparison that nobody has trained: small, seeded, every part of them to be replaced."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from arlab.compare.record import Curve, Evaluation, Member, Row, Shown, Training
from arlab.metrics.figure import Figure, meaning
from arlab.metrics.protocol import Protocol

PROTOCOL = Protocol(
    split="test",
    num_images=1000,
    feature_network="FashionClassifier",
    feature_hash="0123456789abcdef" * 4,
    guidance_scale=2.0,
    temperature=1.0,
    top_k=0,
    top_p=1.0,
    seed=0,
    ema=True,
    dtype="float32",
    device="cpu",
    torch_version="2.0",
    num_real=1000,
    data="fashion 5dd04f21",
    interval="delete-half jackknife, 100 halves",
)
MACHINE: dict[str, str | int] = {"device": "x86_64", "cores": 2, "threads": 2}
CLASSES = ("T-shirt", "trouser", "bag")


def figure(
    value: float, half: float | None = None, *, unit: str | None = None, protocol: Protocol = PROTOCOL
) -> Figure:
    """A figure with the interval value ± half."""
    ends = (None, None) if half is None else (value - half, value + half)
    return Figure(value, unit, protocol, *ends)


def figures(scale: float = 1.0, *, protocol: Protocol = PROTOCOL, steps: int = 49) -> dict[str, Figure]:
    """One of each kind, the worse the larger the scale."""
    made = {
        "FID@1000": figure(4 * scale, 0.2, protocol=protocol),
        "kid": figure(0.01 * scale, 0.001, protocol=protocol),
        "agreement": figure(0.9 / scale, 0.01, protocol=protocol),
        "real_agreement": figure(0.93, 0.01, protocol=protocol),
        "precision": figure(0.8 / scale, 0.02, protocol=protocol),
        "recall": figure(0.6 / scale, 0.02, protocol=protocol),
        "density": figure(0.9 / scale, 0.03, protocol=protocol),
        "coverage": figure(0.7 / scale, 0.03, protocol=protocol),
        "diversity": figure(0.95 / scale, 0.01, protocol=protocol),
        "train_distance": figure(1.02, 0.02, protocol=protocol),
        "nats_per_token": figure(3 * scale, 0.03, protocol=protocol),
        "nats_per_image": figure(150 * scale, 1.5, protocol=protocol),
        "decoding_steps": figure(steps, protocol=protocol),
        "network_evaluations": figure(steps, protocol=protocol),
        "images_per_second": figure(3000 / steps, 20 / steps, protocol=protocol),
        "latency": figure(0.004 * steps, 0.0001 * steps, protocol=protocol),
        "peak_memory": figure(55.0 * scale, protocol=protocol),
        "parameters": figure(round(990_000 * scale), protocol=protocol),
        "flops_per_image": figure(9.5e7 * scale, protocol=protocol),
    }
    return {name: dataclasses.replace(each, unit=meaning(name).unit) for name, each in made.items()}


def tokenizer_figures(psnr: float = 21.5) -> dict[str, Figure]:
    """Those of a tokenizer; its PSNR tells it from others."""
    protocol = Protocol(split="test", num_images=1000, torch_version="2.0", dtype="float32", device="cpu")
    return {
        "psnr": figure(psnr, unit="dB", protocol=protocol),
        "rFID@1000": figure(1.2, protocol=protocol),
        "tokens_per_image": figure(49, protocol=protocol),
        "bits_per_image": figure(441, unit="bits", protocol=protocol),
    }


def evaluation(**changes: Any) -> Evaluation:
    """What was measured; any attribute may be given."""
    made: dict[str, Any] = {
        "run": "experiments/fashion/raster.yaml",
        "checkpoint": "runs/fashion/raster/5f6fa1c5/checkpoints/best.ckpt",
        "content": "89abcdef01234567" * 4,
        "step": 900,
        "ordering": "Raster",
        "head": "DiscreteHead",
        "tokenizer": "VQTokenizer",
        "source": "fashion_mnist",
        "figures": figures(),
        "tokenizer_figures": tokenizer_figures(),
        "nats_by_step": tuple(3.5 - step / 49 for step in range(49)),
        "tokens_by_step": (1,) * 49,
        "machine": MACHINE,
        "measured": "2026-01-02T03:04:05+00:00",
    }
    made |= changes
    # Tokenizers of other figures are others.
    told = "|".join(f"{name} {each.value}" for name, each in made["tokenizer_figures"].items())
    return Evaluation(**{"tokenizer_sha256": f"{made['tokenizer']}|{told}", **made})


def noise(*shape: int, seed: int = 0) -> Tensor:
    """uint8."""
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def shown(names: tuple[str, ...] = CLASSES, *, pictures: int = 3, steps: int = 4, seed: int = 0) -> Shown:
    """Noise of 6 x 5 pixels."""
    return Shown(
        class_names=names,
        grid_KPCHW=noise(len(names), pictures, 1, 6, 5, seed=seed),
        real_KPCHW=noise(len(names), pictures, 1, 6, 5, seed=99),
        strip_SICHW=noise(steps, 2, 1, 6, 5, seed=seed),
        strip_steps=tuple(range(1, steps + 1)),
        neighbour_GCHW=noise(3, 1, 6, 5, seed=seed),
        nearest_GCHW=noise(3, 1, 6, 5, seed=98),
    )


def nothing_shown() -> Shown:
    """No picture of any kind."""
    empty = torch.zeros(0, 0, 1, 6, 5, dtype=torch.uint8)
    return Shown((), empty, empty, empty, (), empty[:, :0].flatten(0, 1), empty[:, :0].flatten(0, 1))


def curve(name: str = "train/loss", *, count: int = 40, start: float = 6.0, seed: int = 0) -> Curve:
    """Falling, with noise on it."""
    noise_N = torch.randn(count, generator=torch.Generator().manual_seed(seed)) * 0.2
    steps = tuple(10 * number for number in range(1, count + 1))
    values = tuple(start * math.exp(-step / 300) + 2 + float(noise_N[number]) for number, step in enumerate(steps))
    return Curve(name, steps, tuple(0.2 * step for step in steps), values)


def training(**changes: Any) -> Training:
    """Of 900 steps; any attribute may be given."""
    curves = (curve(), curve("val/nats_per_token", count=4), curve("val/loss", count=4))
    made: dict[str, Any] = {"steps": 900, "seconds": 204.0, "flops_per_step": 1.4e10, "curves": curves}
    return Training(**{**made, **changes})


def config(ordering: str = "raster.Raster", **model: Any) -> dict[str, Any]:
    """A configuration in small."""
    return {
        "seed_everything": 0,
        "model": {
            "class_path": "arlab.generators.generator.Generator",
            "init_args": {
                "tokenizer": "runs/fashion/tokenizers/vq/06d275ad",
                "ordering": {"class_path": f"arlab.orderings.{ordering}"},
                "backbone": {
                    "class_path": "arlab.backbones.transformer.Transformer",
                    "init_args": {"width": 128, "places": None},
                },
                **model,
            },
        },
        "trainer": {"max_steps": 900, "callbacks": [{"class_path": "arlab.callbacks.samples.SampleGrid"}]},
    }


def member(**changes: Any) -> Member:
    """A run; any attribute may be given."""
    made: dict[str, Any] = {
        "seed": None,
        "evaluation": evaluation(),
        "shown": shown(),
        "training": training(),
        "config": config(),
    }
    return Member(**{**made, **changes})


def row(name: str = "raster", *members: Member) -> Row:
    """One line; of one run unless others are given."""
    return Row(name, members or (member(),))


def row_of(name: str, given: Mapping[str, Figure], **changes: Any) -> Row:
    """One run of which only these figures were measured."""
    return row(name, member(evaluation=evaluation(figures=dict(given), **changes)))
