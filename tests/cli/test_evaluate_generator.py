"""``arlab evaluate`` of generators: what it writes, where, and its mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arlab.cli.main import main
from arlab.compare.class_turns import class_turns
from arlab.compare.storage import read_evaluation
from arlab.data.digits import Digits
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.folder import ImageFolder
from arlab.features.classifier import FashionClassifier
from arlab.images import to_uint8
from arlab.trained import load
from tests.compare.digit_runs import digit_tokenizer, save_generator, save_with_data

RUN = "runs/digits/raster"
FOLDER = Path(RUN) / "aaaaaaaa"
FEW = ["--num_images", "12", "--batch_size", "6"]
SIDE, SCALE, GAP = 8, 8, 2


@pytest.fixture(autouse=True)
def _with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    save_generator(FOLDER, Digits())


@pytest.fixture
def _without_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time goes into it."""
    monkeypatch.setattr("arlab.compare.evaluation.sampling_cost", lambda *_, **__: {})


def metrics(path: Path | str = FOLDER / "metrics.json") -> Any:
    return json.loads(Path(path).read_text())


def shown(path: Path, row: int, column: int) -> np.ndarray[Any, Any]:
    """A gray image on a picture."""
    picture = np.asarray(Image.open(path))[::SCALE, ::SCALE, 0]
    top, left = (GAP + number * (SIDE + GAP) for number in (row, column))
    return picture[top : top + SIDE, left : left + SIDE]


def test_figures_and_pictures_stand_in_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", RUN, *FEW, "--seed", "5", "--temperature", "0.9"]) == 0
    out = capsys.readouterr().out
    record = metrics()
    assert (record["run"], record["step"], record["arlab"]) == (RUN, 7, "0.1.0")
    assert record["checkpoint"] == f"{RUN}/aaaaaaaa/checkpoints/last.ckpt"
    assert record["model"] == "arlab.generators.generator.Generator"
    assert record["data"] == Digits().spec()
    assert {"device", "cores", "threads"} <= set(record["machine"])
    assert {"FID@12", "kid", "recall", "coverage", "diversity", "nats_per_token"} <= set(record["figures"])
    assert {"decoding_steps", "latency", "peak_memory", "flops_per_image"} <= set(record["figures"])
    assert {"psnr", "rFID@200", "perplexity"} <= set(record["tokenizer_figures"])
    kid = record["figures"]["kid"]
    assert kid["low"] < kid["value"] < kid["high"]
    protocol = kid["protocol"]
    assert (protocol["split"], protocol["num_images"], protocol["num_real"]) == ("validation", 12, 200)
    assert (protocol["temperature"], protocol["seed"]) == (0.9, 5)
    assert protocol["feature_hash"] == FashionClassifier().weights_hash
    assert len(record["nats_by_step"]) == len(record["tokens_by_step"]) == 16
    assert read_evaluation(FOLDER / "metrics.json").content == record["content"]

    turns = class_turns(Digits().parts.validation.label_N.bincount().tolist(), 12).tolist()
    sampled = load(RUN).sample(classes=turns, num_images=12, seed=5, temperature=0.9, device="cpu")
    drawn = to_uint8(sampled.images)
    for label in {*turns}:
        first = turns.index(label)
        assert np.array_equal(shown(FOLDER / "samples.png", label, 0), drawn[first, 0].numpy())
    assert np.array_equal(shown(FOLDER / "steps.png", 7, 3), drawn[3, 0].numpy())
    assert np.array_equal(shown(FOLDER / "neighbours.png", 2, 3), drawn[11, 0].numpy())
    assert bool((shown(FOLDER / "neighbours.png", 2, 4) == 255).all())

    lines = out.splitlines()
    digest = protocol["data"].split()[-1]
    assert f"12 generated images against 200 validation images of sklearn-digits {digest}" in lines
    assert (
        "seen by fashion_classifier 487cc65f; guidance 1, temperature 0.9, top_k 0, top_p 1.0, seed 5, "
        f"averaged weights, float32, {protocol['device']}"
    ) in lines
    assert f"metrics: {RUN}/aaaaaaaa/metrics.json" in lines
    assert f"neighbours: {RUN}/aaaaaaaa/neighbours.png" in lines
    assert any(line.split()[:2] == ["tokenizer", "psnr"] and line.split()[-1] == "dB" for line in lines)
    assert any(line.split()[:2] == ["decoding_steps", "16"] for line in lines)
    assert any(line.split()[0] == "kid" and "–" in line for line in lines if line.strip())


@pytest.mark.usefixtures("_without_cost")
def test_export_and_loose_checkpoint_have_theirs_beside_them_and_out_names_another_place(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", RUN, "--out", "exported"]) == 0
    inside = sorted(Path("exported").iterdir())
    Path("loose").mkdir()
    (FOLDER / "checkpoints" / "last.ckpt").rename("loose/mine.ckpt")
    assert main(["evaluate", "exported", *FEW]) == 0
    assert "of exported\n" in capsys.readouterr().out
    assert sorted(Path("exported").iterdir()) == inside
    assert main(["evaluate", "loose/mine.ckpt", *FEW, "--out", "deep/er/figures.json", "--features", "kept"]) == 0
    assert [path.name for path in Path("loose").iterdir()] == ["mine.ckpt"]
    pictures = ("neighbours.png", "samples.png", "steps.png")
    assert sorted(path.name for path in Path("deep/er").iterdir()) == [
        "figures.json",
        *(f"figures.{n}" for n in pictures),
    ]
    for name in pictures:
        assert Path(f"exported.{name}").read_bytes() == Path(f"deep/er/figures.{name}").read_bytes()
    of_export, loose = metrics("exported.metrics.json"), metrics("deep/er/figures.json")
    assert of_export["figures"] == loose["figures"]
    assert len(list(Path("kept").iterdir())) == len(list(Path("runs/features").iterdir())) == 2


@pytest.mark.usefixtures("_without_cost")
def test_the_same_command_twice_gives_the_same_bytes() -> None:
    held = []
    for _ in range(2):
        assert (
            main(["evaluate", RUN, *FEW, "--guidance", "LinearGuidance", "start=1", "end=2", "--top_k", "8", "4"]) == 0
        )
        pictures = {path.name: path.read_bytes() for path in FOLDER.glob("*.png")}
        held.append((metrics()["figures"], metrics()["nats_by_step"], pictures))
    assert held[0] == held[1]
    assert set(held[0][2]) == {"samples.png", "steps.png", "neighbours.png"}
    protocol = held[0][0]["kid"]["protocol"]
    assert protocol["guidance"].startswith("LinearGuidance(start=1")
    assert protocol["top_k"] == "PerStep(values=[8, 4])"


@pytest.mark.usefixtures("_without_cost")
def test_the_tokenizer_has_the_figures_of_its_own_evaluation() -> None:
    save_with_data(digit_tokenizer(Digits()), "runs/digits/vq/aaaaaaaa", Digits())
    assert main(["evaluate", RUN, *FEW, "--split", "test"]) == 0
    assert main(["evaluate", "runs/digits/vq", "--split", "test", "--batch_size", "6"]) == 0
    own = metrics("runs/digits/vq/aaaaaaaa/metrics.json")["figures"]
    held = metrics()["tokenizer_figures"]
    assert set(held) == set(own)
    for name in set(held) - {"images_per_second"}:
        assert held[name]["value"] == own[name]["value"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([RUN, "--num_images", "7"], "num_images: must be from 8 to 100000, got 7"),
        ([RUN, "--num_images", "0"], "num_images: must be from 1 to 1000000, got 0"),
        ([RUN, "--temperature", "-1"], "temperature: must be at least 0, got -1.0"),
        ([RUN, "--top_p", "0"], "top_p: must be positive and at most 1, got 0.0"),
        ([RUN, "--guidance", "Linear"], "guidance: no Guidance is called 'Linear'; there are: "),
        (
            [RUN, "--guidance", "LinearGuidance", "--guidance_scale", "2"],
            "guidance_scale: given beside guidance; give one of the two",
        ),
        ([RUN, "--network", "Resnet"], "network: no FeatureNetwork is called 'Resnet'; there are: "),
        ([RUN, "--device", "tpu"], "device: 'tpu' is not available here"),
        ([RUN, "--features", "file/kept"], "features: file/kept/any cannot be written, file is no folder"),
        ([RUN, "--classes", "3"], "arlab evaluate does not take '--classes'"),
        (["runs/unknown"], "does not say which data it was trained on"),
        (["runs/folder"], "no such folder: my_images"),
        (["runs/other"], "its data are not what it was trained on any more; image_size: (28, 28) against (8, 8)"),
        (["runs/few"], "split: the validation part of sklearn-digits has 5 images, too few to compare with"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_generator("runs/unknown/aaaaaaaa", None, of=Digits())
    save_generator("runs/folder/aaaaaaaa", ImageFolder(root="my_images", image_size=8), of=Digits())
    save_generator("runs/other/aaaaaaaa", Digits(), of=FashionMNIST())
    save_generator("runs/few/aaaaaaaa", Digits(validation_size=5))
    Path("file").write_text("")
    before = sorted(Path().rglob("*"))
    assert main(["evaluate", *arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("arlab: error: ")
    assert line.count("\n") == 1
    assert message in line
    assert sorted(Path().rglob("*")) == before
