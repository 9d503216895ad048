"""Every component of arlab obeys the laws of its kind, on every grid, by its defaults and in its variants."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arlab.configurable import Configurable
from arlab.conformance.check import check
from arlab.conformance.families import FAMILIES, GRIDS, by_default, discovered, family_of
from arlab.conformance.subject import ordering_cases
from arlab.conformance.trials import Trial, trials
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_samplers import DDIM, DPMSolver2M
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.heads.step_transformer import StepTransformer
from arlab.orderings.annealing import AlwaysDrawn, LinearAnnealing
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.entities import Cells, EachScale, SingleTokens, Subsamples, WholeImage
from arlab.orderings.hilbert import Hilbert
from arlab.orderings.level_inputs import Previous
from arlab.orderings.mask_ratios import ArccosRatio, CosineRatio, UniformRatio
from arlab.orderings.masked import Masked
from arlab.orderings.next_block import NextBlock
from arlab.orderings.next_scale import NextScale
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Ordering
from arlab.orderings.orders import RandomOrder, Walk
from arlab.orderings.random_causal import RandomCausal
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.scale_schedules import RandomScales
from arlab.orderings.set_sizes import ArccosSizes, CosineSizes, LinearSizes
from arlab.pyramids.bands import Radial
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.interpolation import Bilinear, Nearest
from arlab.pyramids.scale import ScalePyramid
from arlab.pyramids.transforms import FFT
from arlab.tokenizers.learned import LearnedTokenizer

# It is there to be subclassed, and has parts without defaults.
CLASSES = [cls for family in FAMILIES for cls in discovered(family.base) if cls is not LearnedTokenizer]
VARIANTS: tuple[Configurable, ...] = (
    NextScale(markov=True),
    NextScale(level_input=Previous(), schedule=RandomScales()),
    RandomCausal(order=RandomOrder(), annealing=AlwaysDrawn()),
    RandomCausal(order=Walk(traversal=Hilbert()), annealing=LinearAnnealing(start=0.0, end=0.0)),
    RandomInstructed(set_sizes=CosineSizes(num_steps=3)),
    RandomInstructed(order=Walk(), set_sizes=LinearSizes(num_steps=2)),
    NextX(entities=Subsamples()),
    NextX(entities=EachScale()),
    NextX(entities=Cells(shape=2)),
    NextBlock(entities=SingleTokens()),
    NextBlock(entities=WholeImage()),
    NextBlock(entities=EachScale()),
    Masked(set_sizes=CosineSizes(num_steps=3), mask_ratio=UniformRatio()),
    Masked(set_sizes=ArccosSizes(num_steps=3), mask_ratio=ArccosRatio(), choice=ConfidenceChoice(by_logit=True)),
    Masked(set_sizes=LinearSizes(num_steps=2), mask_ratio=CosineRatio(), choice=ConfidenceChoice(temperature=0.0)),
    ScalePyramid(interpolation=Bilinear()),
    ScalePyramid(interpolation=Nearest()),
    ScalePyramid(residual=False),
    FrequencyPyramid(transform=FFT()),
    FrequencyPyramid(shape=Radial(), transform=FFT(interpolation=Nearest())),
    DiscreteHead(bias=True, label_smoothing=0.1),
    FlowHead(denoiser=BackboneDenoiser()),
    FlowHead(denoiser=StepTransformer(width=32, num_blocks=1)),
    DiffusionHead(denoiser=BackboneDenoiser()),
    DiffusionHead(sampler=DDIM()),
    DiffusionHead(sampler=DPMSolver2M()),
)


@pytest.mark.parametrize("trial", trials(CLASSES), ids=lambda trial: trial.name)
def test_law_holds(trial: Trial) -> None:
    # A grid that is refused fails here: arlab's own components take them all.
    trial.run()


def test_the_documentation_lists_them_all() -> None:
    text = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
    rows = re.findall(r"^\| (\w+) \| \d+ \|((?: \w+ \|)+)$", text, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(cls.__name__ for cls in CLASSES)
    assert {word for _, cells in rows for word in cells.replace("|", "").split()} == {"ok"}
    laws = {law.__name__ for family in FAMILIES for law in family.laws}
    assert laws <= set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


@pytest.mark.parametrize("component", VARIANTS, ids=lambda component: type(component).__name__)
def test_variants_obey_the_laws(component: Configurable) -> None:
    family = family_of(type(component))
    assert family is not None
    report = check(component, family, [(2, 3), (5,)])
    assert report.holds, report
    assert not report.refusals


@pytest.mark.parametrize("cls", discovered(Ordering), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("grid", [*GRIDS, (4, 2), (7,), (1, 1, 6), (8, 8)], ids=str)
def test_an_ordering_takes_any_grid_by_default(cls: type[Ordering], grid: tuple[int, ...]) -> None:
    ordering = by_default(cls)
    assert isinstance(ordering, Ordering)
    assert ordering.layout_of(grid).finest == grid
    assert [case.num_slots for case in ordering_cases(ordering, grid)] == [0, 1, 3]
