"""Every head, trained for seconds, draws from the density of points that it was shown; see tests/benchmarks."""

from __future__ import annotations

import pytest
import torch

from arlab.heads.bitwise import BitwiseHead
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.heads.gaussian_mixture import GaussianMixtureHead
from arlab.heads.solvers import Midpoint
from arlab.heads.time_grids import EvenTimes
from arlab.heads.token_mlp import TokenMLP
from tests.toy_densities import Learner, Line

POINTS = 2000


def flow() -> FlowHead:
    return FlowHead(
        denoiser=TokenMLP(width=64, num_blocks=2), solver=Midpoint(), times=EvenTimes(num_steps=10), repeats=2
    )


def diffusion() -> DiffusionHead:
    return DiffusionHead(denoiser=TokenMLP(width=64, num_blocks=2), num_steps=20, repeats=2, clip=4.0)


LEARNERS = {
    "mixture": Learner(GaussianMixtureHead),
    "flow": Learner(flow),
    "diffusion": Learner(diffusion),
    "discrete": Learner(DiscreteHead, discrete=True),
}


def test_true_points_are_near_and_others_far() -> None:
    line, random = Line(), torch.Generator().manual_seed(0)
    for label in (0, 1):
        assert line.distance(label, line.points(label, POINTS, random)) < 0.08
        assert line.distance(1 - label, line.points(label, POINTS, random)) > 0.5
        assert float(line.probability(label).sum()) == pytest.approx(1)


@pytest.mark.parametrize("name", LEARNERS)
def test_draws_come_from_the_density_of_their_class(name: str) -> None:
    learner, line = LEARNERS[name], Line()
    generator = learner.train(line, seed=0, steps=200, batch=256, learning_rate=5e-3)
    for label in (0, 1):
        # True points: about 0.06 at this number.
        assert line.distance(label, learner.draw(generator, line, label, POINTS)) < 0.25


def test_bits_told_apart_do_not_make_a_density() -> None:
    """Independent bits of one token: what a codebook too large to list is paid for with."""
    learner, line = Learner(BitwiseHead, discrete=True), Line()
    generator = learner.train(line, seed=0, steps=100, batch=256, learning_rate=1e-2)
    assert line.distance(1, learner.draw(generator, line, 1, POINTS)) > 0.2
