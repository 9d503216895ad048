from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from arlab.cli.main import main
from arlab.conformance.toy import toy_generator
from arlab.data.facts import DataFacts
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance, LinearGuidance, PowerCosineGuidance
from arlab.generators.sampler import Partial, Sampler
from arlab.generators.schedules import PerStep
from arlab.heads.bitwise import BitwiseHead
from arlab.heads.coarse_to_fine import CoarseToFineHead
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.heads.gaussian_mixture import GaussianMixtureHead
from arlab.heads.head import Head
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Ordering
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Layout, Progress
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokens import TokenSpace
from tests.conformance.test_laws import Rows
from tests.tiny import tiny_backbone, tiny_generator
from tests.tiny_runs import save_run

LABELS = torch.tensor([0, 1, 1, 0, 1])
SEEDS = [11, 12, 13, 14, 15]
ORDERINGS = [
    Raster(),
    Rows(),
    NextNeighbor(),
    Masked(),
    Masked(set_sizes=CosineSizes(num_steps=3), choice=ConfidenceChoice()),
    RandomInstructed(set_sizes=CosineSizes(num_steps=3)),
]
every_ordering = pytest.mark.parametrize("ordering", ORDERINGS, ids=lambda ordering: type(ordering).__name__)


def tokens(generator: Generator, sampler: Sampler, index: list[int] | None = None) -> Tensor:
    chosen = list(range(len(SEEDS))) if index is None else index
    return sampler.sample(generator, LABELS[chosen], seeds=[SEEDS[i] for i in chosen]).tokens


@every_ordering
def test_a_sample_depends_on_its_label_and_seed_alone(ordering: Ordering) -> None:
    generator = tiny_generator(ordering)
    sampler = Sampler(guidance=ConstantGuidance(guidance_scale=2.0), top_p=0.9)
    whole = tokens(generator, sampler)
    for part in ([0], [3, 1], [4, 3, 2, 1, 0], [2, 2]):
        assert torch.equal(tokens(generator, sampler, part), whole[part])
    assert len(whole.unique(dim=0)) > 1
    again = sampler.sample(generator, LABELS, seeds=[seed + 100 for seed in SEEDS]).tokens
    assert not torch.equal(again, whole)


@every_ordering
def test_global_randomness_is_neither_used_nor_touched(ordering: Ordering) -> None:
    generator = tiny_generator(ordering)
    torch.manual_seed(1)
    first, state = tokens(generator, Sampler()), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(tokens(generator, Sampler()), first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@every_ordering
def test_cached_equals_recomputed(ordering: Ordering) -> None:
    generator = tiny_generator(ordering)
    for guidance in (ConstantGuidance(), LinearGuidance()):
        cached, recomputed = (Sampler(guidance=guidance, use_cache=use_cache) for use_cache in (True, False))
        assert torch.equal(tokens(generator, cached), tokens(generator, recomputed))


class BarelyGuided(Guidance):
    """Scale 1 everywhere, with the unconditional pass run all the same."""

    def __init__(self) -> None:
        pass

    def scale(self, progress: Progress) -> float:
        return 1.0

    @property
    def active(self) -> bool:
        return True


@every_ordering
def test_guidance_of_one_is_none(ordering: Ordering) -> None:
    generator = tiny_generator(ordering)
    unguided = tokens(generator, Sampler())
    assert torch.equal(tokens(generator, Sampler(guidance=BarelyGuided())), unguided)
    strong = Sampler(guidance=ConstantGuidance(guidance_scale=5.0))
    assert not torch.equal(tokens(generator, strong), unguided)


@every_ordering
def test_temperature_zero_needs_no_seed(ordering: Ordering) -> None:
    generator = tiny_generator(ordering)
    greedy = Sampler(temperature=0)
    first = greedy.sample(generator, LABELS, seeds=SEEDS).tokens
    assert torch.equal(greedy.sample(generator, LABELS, seeds=SEEDS).tokens, first)
    if ordering.static:
        # The order is fixed as well, so nothing is left to chance and equal labels give equal images.
        assert torch.equal(greedy.sample(generator, LABELS, seeds=[0] * 5).tokens, first)
        assert len(first.unique(dim=0)) == len(LABELS.unique())


@every_ordering
def test_each_step_shows_what_is_known(ordering: Ordering) -> None:
    generator = tiny_generator(ordering)
    seen: list[Partial] = []
    samples = Sampler().sample(generator, LABELS, seeds=SEEDS, on_step=seen.append)
    assert [partial.progress.step for partial in seen] == list(range(seen[0].progress.steps))
    known_BN = torch.zeros(5, 6, dtype=torch.bool)
    for partial in seen:
        assert (partial.known | ~known_BN).all(), "a token was forgotten"
        known_BN = partial.known
        # Guesses that will be drawn again are shown as well.
        assert known_BN.sum(1).tolist() == [6 if ordering.redraws else partial.progress.drawn] * 5
        # What is known is final otherwise, and what is not is mid-gray.
        same_BN = partial.tokens == samples.tokens
        assert bool(same_BN[known_BN].all()) or ordering.redraws
        assert (same_BN.sum(1) >= partial.progress.drawn).all()
        image = partial.preview()
        assert image.shape == (5, 1, 2, 3)
        final_BN = known_BN & same_BN
        assert torch.equal(image.flatten(1)[final_BN], samples.images.flatten(1)[final_BN])
        assert not image.flatten(1)[~known_BN].any()
    assert known_BN.all()


def test_samples_are_what_the_tokens_stand_for() -> None:
    generator = tiny_generator().train()
    samples = Sampler().sample(generator, LABELS, seeds=SEEDS)
    assert samples.images.shape == (5, 1, 2, 3)
    assert samples.images.dtype == torch.float32
    assert torch.equal(samples.images, generator.tokenizer.decode(samples.tokens))
    assert torch.equal(samples.labels, LABELS)
    # The mode it was found in is the mode it is left in.
    assert generator.training


def test_frequencies_are_the_models() -> None:
    """Images are drawn as often as their likelihood says, to five standard deviations."""
    generator, number = tiny_generator(grid=(1, 2)), 4000
    drawn = Sampler().sample(generator, torch.zeros(number, dtype=torch.long), seeds=range(number)).tokens
    images = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    log_prob = generator.log_prob(images, torch.zeros(9, dtype=torch.long))
    assert log_prob is not None
    expected = log_prob.sum(-1).exp()
    frequency = torch.stack([(drawn == image).all(1).float().mean() for image in images])
    assert ((frequency - expected).abs() <= 5 * (expected * (1 - expected) / number).sqrt() + 1e-6).all()


# ---- options that a head has no use for


VECTORS = (FlowHead, DiffusionHead, GaussianMixtureHead)
CODES = (DiscreteHead, BitwiseHead, CoarseToFineHead)


@pytest.mark.parametrize("cls", VECTORS, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("sampler", "wrong"),
    [
        (Sampler(top_k=5), "leave it at 0, got 5"),
        (Sampler(top_k=PerStep(values=(3, 0))), "leave it at 0, got a PerStep"),
        (Sampler(top_p=0.9), "leave it at 1, got 0.9"),
    ],
    ids=["k", "schedule", "p"],
)
def test_heads_without_codes_refuse_top_k_and_top_p(cls: type[Head], sampler: Sampler, wrong: str) -> None:
    generator = toy_generator(Raster(), Layout(((1, 2),)), head=cls())
    key = "top_p" if "0.9" in wrong else "top_k"
    why = f"^{key}: {cls.__name__} draws no codes, so that there are no likeliest ones to keep to; {wrong}$"
    with pytest.raises(ValueError, match=why):
        sampler.sample(generator, LABELS[:1], seeds=[1])
    assert Sampler(temperature=0.5).sample(generator, LABELS[:1], seeds=[1]).tokens.shape == (1, 2, 3)


@pytest.mark.parametrize("cls", CODES, ids=lambda cls: cls.__name__)
def test_heads_of_codes_take_top_k_and_top_p(cls: type[Head]) -> None:
    generator = toy_generator(Raster(), Layout(((1, 2),)), head=cls(), space=TokenSpace(3, 8))
    assert Sampler(top_k=2, top_p=0.9).sample(generator, LABELS[:1], seeds=[1]).tokens.shape == (1, 2)


def test_arlab_sample_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = DataFacts(source="tiny", channels=1, image_size=(8, 8), class_names=("a", "b"))
    tokenizer = KLTokenizer(facts=facts, token_width=4)
    generator = Generator(tokenizer=tokenizer, ordering=Raster(), backbone=tiny_backbone(), head=FlowHead())
    monkeypatch.chdir(tmp_path)
    save_run(generator, "run")
    assert main(["sample", "run", "--top_k", "5"]) == 2
    assert capsys.readouterr().err == (
        "arlab: error: top_k: FlowHead draws no codes, so that there are no likeliest ones to keep to; "
        "leave it at 0, got 5\n"
    )


@pytest.mark.parametrize("guidance", [ConstantGuidance(guidance_scale=2.0), LinearGuidance(start=1.0, end=2.5)])
def test_guidance_needs_a_generator_that_knows_no_class(guidance: Guidance) -> None:
    generator = tiny_generator(Raster())
    assert isinstance(generator.conditioner, ClassLabel)
    Sampler(guidance=guidance).check(generator)
    generator.conditioner.drop_probability = 0.0
    Sampler().check(generator)
    with pytest.raises(
        ValueError, match=r"guidance: compares with 'no class', which this generator was never trained on"
    ):
        Sampler(guidance=guidance).sample(generator, LABELS, seeds=SEEDS)


# ---- schedules


def progress(step: int, known: int, steps: int = 5, total: int = 20) -> Progress:
    return Progress(step, steps, known, known + 1, total)


def test_constant_guidance_can_stop() -> None:
    guidance = ConstantGuidance(guidance_scale=3.0, until_token=4)
    assert [guidance.scale(progress(0, known)) for known in (0, 4, 5)] == [3.0, 3.0, 1.0]
    assert not ConstantGuidance().active


def test_linear_guidance_goes_from_first_to_last_step() -> None:
    guidance = LinearGuidance(start=1.0, end=3.0)
    assert [guidance.scale(progress(step, 0)) for step in (0, 2, 4)] == [1.0, 2.0, 3.0]
    assert guidance.scale(progress(0, 0, steps=1)) == 1.0


def test_power_cosine_guidance_rises_with_what_is_known() -> None:
    guidance = PowerCosineGuidance(guidance_scale=5.0, power=2.0)
    assert guidance.scale(progress(0, 0)) == 1.0
    assert guidance.scale(progress(0, 20)) == pytest.approx(5.0)
    # (i / T)^2 = 1/4 at half the tokens: 1 + 4 (1 - cos(π / 4)) / 2.
    assert guidance.scale(progress(0, 10)) == pytest.approx(1 + 2 * (1 - 0.5**0.5))
