"""Every head against densities known in closed form: python -m tests.benchmarks.toy_densities --picture FILE.

Each learns two densities of points on a line and two in a plane (``tests.toy_densities``), one per class, through a
generator of one token. The table tells how far its draws are from the truth, and how far as many true points are: the
noise of drawing, below which nothing is told apart. Means and standard deviations are over seeds, each a training.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

from arlab.generators.generator import Generator
from arlab.heads.bitwise import BitwiseHead
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.heads.gaussian_mixture import GaussianMixtureHead
from arlab.heads.head import Head
from arlab.heads.solvers import Euler, Heun, Midpoint, Solver
from arlab.heads.time_grids import EvenTimes
from arlab.heads.token_mlp import TokenMLP
from tests.toy_densities import REACH, Learner, Line, Plane, Toy

TOYS: tuple[Toy, ...] = (Line(), Plane())
POINTS = {"Line": 3000, "Plane": 1500}
_TRUE, _INK = "true points", ("#2a6fbb", "#d1662b")


def flow(solver: type[Solver] = Euler, steps: int = 96) -> Callable[[], Head]:
    return lambda: FlowHead(denoiser=TokenMLP(width=64), solver=solver(), times=EvenTimes(num_steps=steps), repeats=2)


def diffusion(steps: int = 100) -> Callable[[], Head]:
    return lambda: DiffusionHead(denoiser=TokenMLP(width=64), num_steps=steps, repeats=2, clip=4.0)


LEARNERS = {
    "GaussianMixtureHead": Learner(GaussianMixtureHead),
    "FlowHead": Learner(flow()),
    "DiffusionHead": Learner(diffusion()),
    "DiscreteHead": Learner(DiscreteHead, discrete=True),
    "BitwiseHead": Learner(BitwiseHead, discrete=True),
}


@dataclass(frozen=True)
class Way:
    """One way to draw from a trained head.

    Attributes:
        head: its name.
        told: how it draws.
        looks: how often its network looks at a token.
        make: the head that draws so; None: the one trained.
    """

    head: str
    told: str
    looks: int
    make: Callable[[], Head] | None = None


WAYS = (
    Way("GaussianMixtureHead", "8 Gaussians", 1),
    *(Way("DiffusionHead", f"Ancestral, {steps} steps", steps, diffusion(steps)) for steps in (12, 25, 100)),
    *(Way("FlowHead", f"Euler, {steps} steps", steps, flow(Euler, steps)) for steps in (6, 12, 24, 96)),
    *(Way("FlowHead", f"Midpoint, {steps} steps", 2 * steps, flow(Midpoint, steps)) for steps in (3, 6, 12)),
    *(Way("FlowHead", f"Heun, {steps} steps", 2 * steps - 1, flow(Heun, steps)) for steps in (3, 6, 12)),
    Way("DiscreteHead", "all codes", 1),
    Way("BitwiseHead", "bits", 1),
)
SHOWN = ("8 Gaussians", "Ancestral, 100 steps", "Euler, 96 steps", "Midpoint, 6 steps", "all codes", "bits")

Result = dict[str, list[Tensor]]
"""Draws of each class, by how they were drawn."""


def learn(toy_number: int, name: str, seed: int, steps: int) -> tuple[dict[str, list[float]], Result]:
    """Train a head on a toy, and draw in all its ways."""
    torch.set_num_threads(1)
    toy, learner = TOYS[toy_number], LEARNERS[name]
    trained = learner.train(toy, seed=seed, steps=steps, batch=256, learning_rate=1e-2)
    distances, drawn = {}, {}
    for way in WAYS:
        if way.head == name:
            drawn[way.told] = [_draw(learner, trained, toy, way, label, seed) for label in (0, 1)]
            distances[way.told] = [toy.distance(label, points) for label, points in enumerate(drawn[way.told])]
    return distances, drawn


@torch.no_grad()
def _draw(learner: Learner, trained: Generator, toy: Toy, way: Way, label: int, seed: int) -> Tensor:
    generator = learner.generator(toy, way.make).eval()
    generator.load_state_dict(trained.state_dict())
    number = POINTS[type(toy).__name__]
    return torch.cat(
        [learner.draw(generator, toy, label, number // 2, seed=10**6 * (2 * seed + half)) for half in (0, 1)]
    )


def true(toy: Toy, seed: int) -> list[Tensor]:
    random = torch.Generator().manual_seed(10**7 + seed)
    return [toy.points(label, POINTS[type(toy).__name__], random) for label in (0, 1)]


def table(distances: dict[tuple[int, str], list[list[float]]]) -> str:
    """Markdown; distances[toy, way] of each seed and class."""
    lines = [
        "| head | drawn by | looks | line: two bumps | box and spike | plane: moons | ring of eight |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in (Way("", _TRUE, 0), *WAYS):
        cells = []
        for toy in range(len(TOYS)):
            std, mean = torch.std_mean(torch.tensor(distances[toy, way.told]), 0)
            digits = 3 if toy == 0 else 1
            cells += [f"{float(m):.{digits}f} ± {float(s):.{digits}f}" for m, s in zip(mean, std, strict=True)]
        name = f"`{way.head}`" if way.head else ""
        lines.append(f"| {name} | {way.told} | {way.looks or ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(drawn: Sequence[Result], path: Path) -> None:
    """Densities and draws: a column per head, the line above, the plane below."""
    names = {way.told: way.head.removesuffix("Head") for way in WAYS}
    columns = (_TRUE, *SHOWN)
    figure, axes = plt.subplots(2, len(columns), figsize=(2.1 * len(columns), 4.4), height_ratios=(1, 1.25))
    for column, told in enumerate(columns):
        on_line, in_plane = axes[0, column], axes[1, column]
        on_line.set_title(told if told == _TRUE else f"{names[told]}\n{told}", fontsize=9)
        for label, ink in enumerate(_INK):
            _histogram(on_line, drawn[0][told][label], label, ink)
            points = drawn[1][told][label][:1500]
            in_plane.scatter(points[:, 0], points[:, 1], s=1.5, linewidths=0, alpha=0.6, color=ink)
        on_line.set(xlim=(-REACH, REACH), ylim=(0, 1.8), yticks=[])
        in_plane.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), xticks=[], yticks=[], aspect="equal")
        for axis in (on_line, in_plane):
            axis.tick_params(labelsize=7)
            axis.spines[["top", "right", "left"]].set_visible(axis is in_plane)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _histogram(axis: Axes, points: Tensor, label: int, ink: str) -> None:
    line = Line()
    edges = torch.linspace(-REACH, REACH, line.cells + 1)
    axis.hist(points[:, 0].numpy(), bins=edges.tolist(), density=True, color=ink, alpha=0.35)
    density = line.probability(label) / edges.diff()
    axis.stairs(density.numpy(), edges.numpy(), color=ink, linewidth=0.9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    distances: dict[tuple[int, str], list[list[float]]] = {}
    shown: list[Result] = [{_TRUE: true(toy, 0)} for toy in TOYS]
    jobs = [(toy, name, seed) for seed in range(options.seeds) for toy in range(len(TOYS)) for name in LEARNERS]
    # Not forked: torch's threads do not survive that.
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        results = pool.map(learn, *zip(*jobs, strict=True), [options.steps] * len(jobs))
        for (toy, _, seed), (far, drawn) in zip(jobs, results, strict=True):
            for told, of_classes in far.items():
                distances.setdefault((toy, told), []).append(of_classes)
            if seed == 0:
                shown[toy] |= drawn
    for number, toy in enumerate(TOYS):
        truths = [true(toy, seed) for seed in range(max(8, options.seeds))]
        distances[number, _TRUE] = [[toy.distance(label, each[label]) for label in (0, 1)] for each in truths]
    told = ", ".join(f"{type(toy).__name__.lower()}: {toy.measure}" for toy in TOYS)
    print(f"{told}; mean ± standard deviation over {options.seeds} trainings of {options.steps} steps\n")
    print(table(distances))
    if options.picture is not None:
        picture(shown, options.picture)


if __name__ == "__main__":
    main()
