"""Images measured at another size than they are drawn in: which, what is told of it, and what is left alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from arlab.cli.main import main
from arlab.compare.evaluation import evaluate
from arlab.compare.measured_size import asked_size, brought_to
from arlab.compare.measurement import Measurement
from arlab.compare.record import Evaluation, Shown
from arlab.compare.storage import plain
from arlab.data.digits import Digits
from arlab.data.folder import ImageFolder
from arlab.data.loaders import Split
from arlab.data.stream import Images
from arlab.features.classifier import FashionClassifier
from arlab.images import to_uint8
from arlab.metrics.quality import quality
from arlab.metrics.seen import see
from arlab.trained import load
from tests.compare.digit_runs import digit_tokenizer, save_generator, save_with_data
from tests.data.pictures import fill

RUN = "runs/mine/aaaaaaaa"
OWN, SMALL = (8, 12), (4, 6)


@pytest.fixture(autouse=True)
def _with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    fill(Path("mine"), {"cat": 80, "dog": 80})
    save_generator(RUN, data())


@pytest.fixture
def _without_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arlab.compare.evaluation.sampling_cost", lambda *_, **__: {})


def data(size: tuple[int, int] = OWN) -> ImageFolder:
    return ImageFolder(root="mine", image_size=size, channels=1)


def measured(size: tuple[int, int] | None) -> tuple[Evaluation, Shown]:
    return evaluate(RUN, Measurement(num_images=12, seed=3, batch_size=5, device="cpu", image_size=size))


def told(evaluation: Evaluation) -> dict[str, Any]:
    """All that is the same again."""
    held = {**plain(evaluation), "measured": None}
    for key in ("figures", "tokenizer_figures"):
        held[key] = {name: each for name, each in held[key].items() if name != "images_per_second"}
    return held


@pytest.mark.usefixtures("_without_cost")
def test_its_own_size_changes_nothing() -> None:
    (usual, pictures), (same, again) = measured(None), measured(OWN)
    assert told(usual) == told(same)
    assert all(
        torch.equal(value, getattr(again, key)) if isinstance(value, torch.Tensor) else value == getattr(again, key)
        for key, value in vars(pictures).items()
    )
    assert len(list(Path("runs/features").iterdir())) == 2


def test_quality_is_of_resized_images_and_the_rest_of_its_own() -> None:
    usual, pictures = measured(None)
    small, resized = measured(SMALL)
    samples = load(RUN).sample(classes=[0, 1], num_images=12, seed=3, device="cpu")
    pixel_NCHW = to_uint8(F.interpolate(samples.images, SMALL, mode="bicubic"))
    assert torch.equal(resized.neighbour_GCHW, pixel_NCHW)
    assert resized.real_KPCHW.shape[-2:] == resized.nearest_GCHW.shape[-2:] == resized.strip_SICHW.shape[-2:] == SMALL
    assert torch.equal(resized.strip_SICHW[-1], pixel_NCHW[:4])

    network = FashionClassifier()
    generated = see(network, Images(pixel_NCHW, samples.labels))
    real, train = (see(network, data(SMALL).part(split)) for split in (Split.VALIDATION, Split.TRAIN))
    wanted = quality(real, generated, small.figures["kid"].protocol, train=train, unseen=real, classes=False)
    for name, figure in wanted.items():
        assert small.figures[name].value == figure.value
        assert (small.figures[name].protocol.image_size, usual.figures[name].protocol.image_size) == (
            "4 x 6, of 8 x 12, bicubic",
            None,
        )
        assert small.figures[name].protocol.data != usual.figures[name].protocol.data
    # Likelihood, cost and tokenizer know nothing of it.
    for name in set(usual.figures) - set(wanted):
        assert small.figures[name].protocol == usual.figures[name].protocol
    assert small.figures["nats_per_token"] == usual.figures["nats_per_token"]
    assert {each.protocol for each in small.tokenizer_figures.values()} == {
        each.protocol for each in usual.tokenizer_figures.values()
    }
    assert small.tokenizer_figures["psnr"] == usual.tokenizer_figures["psnr"]
    # Features of real images are kept by their size, too.
    assert len(list(Path("runs/features").iterdir())) == 4
    assert pictures.real_KPCHW.shape[-2:] == OWN


@pytest.mark.usefixtures("_without_cost")
def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", RUN, "--num_images", "12", "--device", "cpu", "--image_size"]
    assert main([*words, "4", "6"]) == 0
    assert "\ngenerated images brought to 4 x 6, of 8 x 12, bicubic\n" in capsys.readouterr().out
    save_generator("runs/digits/aaaaaaaa", Digits())
    save_with_data(digit_tokenizer(Digits()), "runs/vq/aaaaaaaa", Digits())
    for line, answer in (
        ([*words, "4"], "image_size: expected the proportions of the model's (8, 12), got (4, 4)"),
        ([*words, "0"], "image_size: expected one or two numbers from 1 to 4096, got [0]"),
        ([*words, "4", "6", "8"], "image_size: expected one or two numbers from 1 to 4096, got [4, 6, 8]"),
        (
            ["evaluate", "runs/vq/aaaaaaaa", "--image_size", "4"],
            "image_size: runs/vq/aaaaaaaa is a tokenizer, which draws no images; leave it out",
        ),
        (
            ["evaluate", "runs/digits/aaaaaaaa", "--image_size", "4"],
            "image_size: the images of Digits are of (8, 8) only, got (4, 4); leave it out",
        ),
    ):
        assert main(line) == 2
        assert capsys.readouterr().err == f"arlab: error: {answer}\n"


def test_proportions_are_kept_to_a_pixel() -> None:
    assert asked_size((256, 171), (384, 256)) == (256, 171)
    assert asked_size((384, 256), (384, 256)) is None
    with pytest.raises(ValueError, match="image_size: expected the proportions of the model's"):
        asked_size((256, 173), (384, 256))
    with pytest.raises(ValueError, match="image_size: must be from 1 to 1024, got 0"):
        dataclasses.replace(Measurement(), image_size=(0, 4))
    image_BCHW = torch.rand(1, 3, 6, 9)
    assert brought_to(image_BCHW, None) is image_BCHW
