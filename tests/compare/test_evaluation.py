"""What is measured and shown of a generator: of which images, under which protocol, and the same again."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from arlab.compare.class_turns import class_turns
from arlab.compare.drawing import _spaced
from arlab.compare.evaluation import evaluate
from arlab.compare.likelihood import Likelihood
from arlab.compare.measurement import Measurement
from arlab.compare.real_images import chosen, look
from arlab.compare.record import Evaluation, Shown
from arlab.compare.storage import plain
from arlab.data.cached import CachedTokens
from arlab.data.data import Part
from arlab.data.digits import Digits
from arlab.data.loaders import Split
from arlab.data.stream import Images
from arlab.features.classifier import FashionClassifier, FeatureClassifier
from arlab.features.feature_network import FeatureNetwork
from arlab.generators.generator import Generator
from arlab.generators.guidance import LinearGuidance
from arlab.generators.sampler import Sampler
from arlab.generators.schedules import Ramp
from arlab.images import to_uint8
from arlab.metrics.frechet import frechet_distance
from arlab.metrics.protocol import Protocol
from arlab.tokenizers.caching import Caching
from arlab.trained import load
from tests.compare.digit_runs import digit_tokenizer, plain_digits, save_generator, save_with_data

NUM = 24
OF_COST = {
    *("decoding_steps", "network_evaluations", "head_evaluations", "flops_per_image", "peak_memory", "parameters"),
    *("images_per_second", "latency"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A generator of the digits."""
    return save_generator(tmp_path_factory.mktemp("runs") / "aaaaaaaa", Digits())


@pytest.fixture(scope="module")
def usual(run: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Shown]:
    """What is measured of it, cost and all."""
    return evaluate(run, measurement(features=tmp_path_factory.mktemp("features")))


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    # It takes most of the time, and has tests of its own.
    monkeypatch.setattr("arlab.compare.evaluation.sampling_cost", lambda *_, **__: {})


def measurement(**settings: Any) -> Measurement:
    return dataclasses.replace(Measurement(num_images=NUM, seed=3, batch_size=12, device="cpu"), **settings)


def same(a: Evaluation, b: Evaluation) -> bool:
    """Whether quality, likelihood and steps agree to the last bit."""
    mine, theirs = plain(a), plain(b)
    quality = [{n: f for n, f in each["figures"].items() if n not in OF_COST} for each in (mine, theirs)]
    return quality[0] == quality[1] and mine["nats_by_step"] == theirs["nats_by_step"]


def equal(a: Shown, b: Shown) -> bool:
    """Whether all pictures agree to the last bit."""
    held = [dataclasses.asdict(each) for each in (a, b)]
    return all(
        torch.equal(value, held[1][key]) if isinstance(value, Tensor) else value == held[1][key]
        for key, value in held[0].items()
    )


def test_the_images_are_those_of_arlab_sample(run: str, usual: tuple[Evaluation, Shown]) -> None:
    _, shown = usual
    counts = look(Digits().part(Split.VALIDATION), num_classes=10, classes=1, each=1, batch_size=50).counts
    assert len(set(counts)) > 1
    turns = class_turns(counts, NUM)
    drawn = load(run).sample(classes=turns.tolist(), num_images=NUM, seed=3, device="cpu")
    pixel_BCHW = to_uint8(drawn.images)
    assert shown.class_names == tuple("0123456789")
    for label in range(10):
        own_BCHW = pixel_BCHW[turns == label][:8]
        assert torch.equal(shown.grid_KPCHW[label, : len(own_BCHW)], own_BCHW)
    # Later numbers of the class fill up.
    assert len(set(shown.grid_KPCHW.flatten(2).sum(-1).flatten().tolist())) > 70
    assert torch.equal(shown.strip_SICHW[-1], pixel_BCHW[:4])
    assert torch.equal(shown.neighbour_GCHW, pixel_BCHW[:16])


def test_the_same_again_to_the_last_bit_whether_features_were_kept_or_not(
    run: str, usual: tuple[Evaluation, Shown]
) -> None:
    kept = Path("runs/features")
    first, first_shown = evaluate(run, measurement())
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    assert len(before) == 2
    again, again_shown = evaluate(run, measurement())
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    assert same(first, again)
    assert same(first, usual[0])
    assert equal(first_shown, again_shown)
    assert equal(first_shown, usual[1])
    other, other_shown = evaluate(run, measurement(seed=4))
    assert not same(first, other)
    assert not equal(first_shown, other_shown)


def test_the_strip_shows_images_growing_to_their_end(usual: tuple[Evaluation, Shown]) -> None:
    _, shown = usual
    assert shown.strip_steps == (2, 4, 6, 8, 10, 12, 14, 16)
    # Tokens lie on 4 x 4 cells of 2 x 2 pixels; what is not known yet is gray.
    gray = 128
    for number, image_ICHW in zip(shown.strip_steps, shown.strip_SICHW, strict=True):
        assert bool((image_ICHW[..., number // 4 * 2 + 2 :, :] == gray).all()) or number == 16
        assert not bool((image_ICHW[..., : max(2, number // 4 * 2), :2] == gray).all())


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 9, 49, 1000])
def test_steps_shown_are_spread_and_end_with_the_last(steps: int) -> None:
    shown = _spaced(steps)
    assert len(shown) == min(8, steps)
    assert max(shown) == steps
    assert min(shown) >= 1


def test_a_bound_is_drawn_by_the_seed_of_the_measurement(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int | None] = []

    def bound(generator: Generator, part: Part, protocol: Protocol, **_: Any) -> Likelihood:
        seeds.append(protocol.seed)
        return Likelihood({}, None, ())

    monkeypatch.setattr("arlab.compare.evaluation.likelihood", bound)
    evaluated, _ = evaluate(run, measurement(seed=7))
    assert seeds == [7]
    assert {figure.protocol.seed for figure in evaluated.tokenizer_figures.values()} == {None}


def test_neighbours_are_the_nearest_training_images(usual: tuple[Evaluation, Shown]) -> None:
    _, shown = usual
    train = Digits().part(Split.TRAIN)
    pixel_NCHW = to_uint8(train.batch(torch.arange(len(train)), known=False).image)
    network = FashionClassifier()
    of_train_ND, of_drawn_GD = network.features(pixel_NCHW), network.features(shown.neighbour_GCHW)
    for feature_D, nearest_CHW in zip(of_drawn_GD, shown.nearest_GCHW, strict=True):
        nearest = (of_train_ND - feature_D).square().sum(1).argmin()
        assert torch.equal(pixel_NCHW[nearest], nearest_CHW)


def test_figures_are_of_all_images_of_the_part_and_of_the_tokenizer(run: str, usual: tuple[Evaluation, Shown]) -> None:
    evaluation, _ = usual
    part, trained = Digits().part(Split.VALIDATION), load(run)
    image_NCHW = part.batch(torch.arange(200), known=False).image
    turns = class_turns(Digits().parts.validation.label_N.bincount().tolist(), NUM).tolist()
    drawn = trained.sample(classes=turns, num_images=NUM, seed=3, device="cpu").images
    features = [FashionClassifier().features(to_uint8(images)) for images in (image_NCHW, drawn)]
    frechet = frechet_distance(*features)
    assert evaluation.figures[f"FID@{NUM}"].value == pytest.approx(frechet)
    error = ((trained.reconstruct(image_NCHW) - image_NCHW) / 2).square().mean()
    assert evaluation.tokenizer_figures["psnr"].value == pytest.approx(float(-10 * error.log10()), abs=1e-3)
    assert "rFID@200" in evaluation.tokenizer_figures
    assert evaluation.nats_by_step is not None
    assert evaluation.tokens_by_step == (1,) * 16
    nats = evaluation.figures["nats_per_token"].value
    assert math.fsum(evaluation.nats_by_step) / 16 == pytest.approx(nats, rel=1e-5)
    assert evaluation.figures["decoding_steps"].value == 16
    assert (evaluation.ordering, evaluation.head) == ("Raster", "DiscreteHead")
    assert evaluation.tokenizer == "VQTokenizer (VectorQuantizer)"
    assert (evaluation.source, evaluation.step) == ("sklearn-digits", 7)
    assert evaluation.checkpoint.endswith("aaaaaaaa/checkpoints/last.ckpt")


def test_the_protocol_says_all_that_was_set(run: str, usual: tuple[Evaluation, Shown]) -> None:
    sampler = Sampler(guidance=LinearGuidance(start=1, end=2), temperature=Ramp(start=1, end=0.5), top_k=5, top_p=0.9)
    evaluation, _ = evaluate(run, measurement(sampler=sampler, split=Split.TEST))
    test = Digits().part(Split.TEST)
    digest = look(test, num_classes=10, classes=1, each=1, batch_size=7).digest
    how = evaluation.figures["kid"].protocol
    assert (how.split, how.num_images, how.num_real) == ("test", NUM, 297)
    assert how.data == f"sklearn-digits {digest[:8]}"
    assert (how.feature_network, how.feature_hash) == ("fashion_classifier", FashionClassifier().weights_hash)
    assert (how.guidance_scale, how.guidance) == (None, "LinearGuidance(start=1, end=2)")
    assert (how.temperature, how.top_k, how.top_p) == ("Ramp(start=1, end=0.5)", 5, 0.9)
    assert (how.seed, how.ema, how.dtype, how.device) == (3, True, "float32", "cpu")
    assert usual[0].figures["images_per_second"].protocol.batch_size == 12
    how = usual[0].figures["kid"].protocol
    assert (how.guidance_scale, how.guidance, how.temperature, how.top_k, how.top_p) == (1.0, None, 1.0, 0, 1.0)


class _OfDigits(FeatureNetwork):
    """An untrained network that calls its classes as the digits do."""

    def load(self) -> FeatureClassifier:
        torch.manual_seed(0)
        names = tuple("0123456789")
        return FeatureClassifier(name="digits", channels=1, num_classes=10, widths=(4, 8), class_names=names)


def test_agreement_is_told_where_the_network_knows_the_classes_of_the_data(
    run: str, usual: tuple[Evaluation, Shown]
) -> None:
    assert not {"agreement", "real_agreement"} & set(usual[0].figures)
    evaluation, _ = evaluate(run, measurement(network=_OfDigits()))
    assert {"agreement", "real_agreement"} <= set(evaluation.figures)


def test_data_without_classes_are_one_nameless_class(tmp_path: Path) -> None:
    run = save_generator(tmp_path / "plain", plain_digits())
    evaluation, shown = evaluate(run, measurement(num_images=10, network=_OfDigits()))
    assert "agreement" not in evaluation.figures
    assert "FID@10" in evaluation.figures
    assert shown.class_names == ("",)
    assert shown.grid_KPCHW.shape == (1, 8, 1, 8, 8)
    assert len(shown.nearest_GCHW) == 10


def test_tokens_in_place_of_images_lead_to_the_images_they_were_made_of(
    tmp_path: Path, usual: tuple[Evaluation, Shown]
) -> None:
    tokenizer = digit_tokenizer(Digits())
    Caching(tokenizer=tokenizer, data=Digits(), run="tokenizer").write(tmp_path / "cache", lambda *_: None)
    cached = save_generator(tmp_path / "cached", CachedTokens(folder=str(tmp_path / "cache")), of=Digits())
    assert same(evaluate(cached, measurement())[0], usual[0])


def test_against_training_images_others_are_the_unseen_ones(run: str, usual: tuple[Evaluation, Shown]) -> None:
    evaluation, _ = evaluate(run, measurement(split=Split.TRAIN))
    train = Digits().part(Split.TRAIN)
    assert evaluation.figures["kid"].protocol.num_real == len(train)
    # The drawn images have the proportions of other classes; the unseen ones are the same.
    distance, other = (each.figures["train_distance"].value for each in (evaluation, usual[0]))
    assert distance == pytest.approx(other, rel=0.1)


def test_classes_with_few_images_are_filled_up_and_what_images_are_is_told() -> None:
    pixel_NCHW = torch.arange(5 * 4, dtype=torch.uint8).reshape(5, 1, 2, 2)
    part = Images(pixel_NCHW, torch.tensor([1, 0, 1, 1, 2]))
    looked = look(part, num_classes=3, classes=2, each=2, batch_size=2)
    assert torch.equal(looked.real_KPCHW[0], torch.stack([pixel_NCHW[1], torch.full((1, 2, 2), 255)]))
    assert torch.equal(looked.real_KPCHW[1], pixel_NCHW[[0, 2]])
    assert looked.counts == (1, 3, 1)
    assert looked.digest == look(part, num_classes=3, classes=1, each=1, batch_size=5).digest
    others = Images(pixel_NCHW + 1, part.label_N), Images(pixel_NCHW, part.label_N.flip(0)), part[:4]
    assert looked.digest not in {look(each, num_classes=3, classes=1, each=1, batch_size=5).digest for each in others}


def test_of_large_parts_the_same_images_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arlab.compare.real_images.MOST", 10)
    part = Digits().part(Split.TEST)
    some = [chosen(part) for _ in range(2)]
    rows = [each.batch(torch.arange(10), known=True).row for each in some]
    assert len(some[0]) == 10
    assert torch.equal(*rows)
    assert len(set(rows[0].tolist())) == 10
    assert torch.equal(
        some[0].batch(torch.tensor([3]), known=False).image[0], part.batch(rows[0], known=False).image[3]
    )


def test_mistakes_are_told(run: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_images: must be from 8 to 100000, got 7"):
        Measurement(num_images=7)
    with pytest.raises(ValueError, match="seed: must be at least 0"):
        Measurement(seed=-1)
    tokenizer = save_with_data(digit_tokenizer(Digits()), tmp_path / "tokenizer", Digits())
    with pytest.raises(ValueError, match="is a VQTokenizer, expected a Generator"):
        evaluate(tokenizer, measurement())
    few = save_generator(tmp_path / "few", Digits(validation_size=5))
    with pytest.raises(ValueError, match="split: the validation part of sklearn-digits has 5 images, too few"):
        evaluate(few, measurement())
    with pytest.raises(ValueError, match="device: 'tpu' is not available here"):
        evaluate(run, measurement(device="tpu"))


def test_progress_is_told_of_every_piece(run: str) -> None:
    told: dict[str, list[int]] = {}
    evaluate(run, measurement(), lambda what, total: told.setdefault(what, []).append(total))
    assert set(told) == {
        *("drawing", "real images", "train images", "validation images", "generated images"),
        *("likelihood", "tokenizer"),
    }
    for what, totals in told.items():
        assert totals == [len(totals)] * len(totals), what
