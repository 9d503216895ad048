"""``arlab evaluate`` of tokenizers: what it writes, where, from which RUN, and its mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from arlab.cli.main import main
from arlab.data.digits import Digits
from arlab.data.emoji import Emoji
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.folder import ImageFolder
from arlab.features.classifier import EmojiClassifier, FashionClassifier, save_classifier
from arlab.features.train_classifier import train
from arlab.images import to_uint8
from arlab.runs.checkpoint import KEY, read
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.trained import load
from tests.tiny_runs import save_run

RUN = "runs/digits/vq"


def save_tokenizer(folder: str, data: Any, of: Any = None) -> None:
    """An untrained tokenizer, saved as a Trainer would that had this data module."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(
        facts=(data if of is None else of).facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4),
        quantizer=VectorQuantizer(codebook_size=16),
        token_width=4,
    )
    save_run(tokenizer, folder)
    path = Path(folder) / "checkpoints" / "last.ckpt"
    checkpoint = read(path)
    checkpoint[KEY]["data"] = None if data is None else data.spec()
    checkpoint["global_step"] = 7
    torch.save(checkpoint, path)


@pytest.fixture(autouse=True)
def _with_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    save_tokenizer(f"{RUN}/aaaaaaaa", Digits())


def metrics(path: str = f"{RUN}/aaaaaaaa/metrics.json") -> Any:
    return json.loads(Path(path).read_text())


def value(record: Any, name: str) -> Any:
    return record["figures"][name]["value"]


def test_figures_are_those_of_the_images_and_stand_beside_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", RUN]) == 0
    out = capsys.readouterr().out
    record = metrics()
    assert set(record["figures"]) == {
        *("psnr", "perceptual_distance", "rFID@200", "kid", "tokens_per_image", "bits_per_image"),
        *("usage", "perplexity", "images_per_second"),
    }
    trained, validation = load(RUN), Digits().parts.validation
    image = validation.batch(torch.arange(200), known=False).image
    reconstruction = trained.reconstruct(image)
    error = ((reconstruction - image) / 2).square().mean()
    assert value(record, "psnr") == pytest.approx(float(-10 * error.log10()), abs=1e-3)
    tokens = trained.encode(image)
    assert value(record, "usage") == pytest.approx(len(tokens.unique()) / 16)
    assert value(record, "bits_per_image") == 4 * tokens.shape[1] == 4 * value(record, "tokens_per_image")
    distance = FashionClassifier().distance(reconstruction, image).mean()
    assert value(record, "perceptual_distance") == pytest.approx(float(distance), rel=1e-4)
    assert f"{value(record, 'psnr'):.4g}" in out
    assert "200 validation images, fashion_classifier 487cc65f" in out
    assert f"metrics: {RUN}/aaaaaaaa/metrics.json\n" in out


def test_each_figure_has_its_protocol_and_the_record_says_of_what(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", RUN, "--split", "test", "--num_images", "30", "--seed", "5"]) == 0
    record = metrics()
    assert (record["run"], record["step"], record["model"]) == (RUN, 7, "arlab.tokenizers.vq_tokenizer.VQTokenizer")
    assert record["checkpoint"] == f"{RUN}/aaaaaaaa/checkpoints/last.ckpt"
    assert record["data"] == Digits().spec()
    assert {"device", "cores", "threads"} <= set(record["machine"])
    for name, figure in record["figures"].items():
        protocol = figure["protocol"]
        assert (protocol["split"], protocol["num_images"], protocol["seed"]) == ("test", 30, 5)
        assert (protocol["dtype"], protocol["torch_version"]) == ("float32", torch.__version__)
        seen = name in ("perceptual_distance", "rFID@30", "kid")
        assert protocol["feature_hash"] == (FashionClassifier().weights_hash if seen else None)


def test_the_choice_of_images_goes_by_the_seed() -> None:
    found = []
    for seed in ("0", "0", "1"):
        assert main(["evaluate", RUN, "--num_images", "20", "--seed", seed]) == 0
        found.append(value(metrics(), "psnr"))
    assert found[0] == found[1] != found[2]


def test_the_picture_shows_images_above_their_reconstructions() -> None:
    assert main(["evaluate", RUN, "--split", "test", "--batch_size", "3"]) == 0
    picture = np.asarray(Image.open(f"{RUN}/aaaaaaaa/reconstructions.png"))
    scale, side = 8, 8
    cell = (side + 2) * scale
    assert picture.shape == (4 * cell + 2 * scale, 16 * cell + 2 * scale, 3)
    image = Digits().parts.test.batch(torch.arange(32), known=False).image
    for row, shown in ((0, image), (1, load(RUN).reconstruct(image))):
        inner = picture[row * cell + 2 * scale : (row + 1) * cell : scale, 2 * scale : cell : scale, 0]
        assert np.array_equal(inner, to_uint8(shown)[0, 0].numpy())


def test_export_and_loose_checkpoint_have_their_figures_beside_them() -> None:
    assert main(["export", RUN, "--out", "exported"]) == 0
    inside = sorted(Path("exported").iterdir())
    Path("loose").mkdir()
    Path(f"{RUN}/aaaaaaaa/checkpoints/last.ckpt").rename("loose/mine.ckpt")
    for run in ("exported", "loose/mine.ckpt"):
        assert main(["evaluate", run, "--num_images", "10"]) == 0
    assert sorted(Path("exported").iterdir()) == inside
    assert value(metrics("exported.metrics.json"), "psnr") == value(metrics("loose/mine.metrics.json"), "psnr")
    assert Path("exported.reconstructions.png").is_file()
    assert Path("loose/mine.reconstructions.png").is_file()


def test_out_names_the_file_and_leaves_the_run_alone() -> None:
    assert main(["evaluate", RUN, "--num_images", "10", "--out", "deep/er/figures.json"]) == 0
    assert sorted(path.name for path in Path("deep/er").iterdir()) == ["figures.json", "figures.reconstructions.png"]
    assert not Path(f"{RUN}/aaaaaaaa/metrics.json").exists()


def test_colour_is_seen_by_the_colour_network_and_any_other_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    save_tokenizer("runs/emoji/vq/aaaaaaaa", Emoji())
    assert main(["evaluate", "runs/emoji/vq", "--num_images", "12"]) == 0
    record = metrics("runs/emoji/vq/aaaaaaaa/metrics.json")
    assert record["figures"]["rFID@12"]["protocol"]["feature_hash"] == EmojiClassifier().weights_hash
    assert 0 < value(record, "ssim") < 1
    capsys.readouterr()
    assert main(["evaluate", "runs/emoji/vq", "--network", "FashionClassifier"]) == 2
    assert "fashion_classifier: takes images of 1 channels, got 3" in capsys.readouterr().err
    own = train(Digits().parts.validation, steps=1, seed=0, name="mine", widths=(4, 8))
    save_classifier(own, Path("mine.safetensors"), {})
    assert main(["evaluate", RUN, "--network", "SavedClassifier", "file=mine.safetensors"]) == 0
    assert metrics()["figures"]["kid"]["protocol"]["feature_network"] == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: RUN"),
        (["runs/digits/vg"], "Did you mean runs/digits/vq"),
        ([RUN, "--split", "val"], "invalid choice: 'val' (choose from"),
        ([RUN, "--num-images", "3"], "Did you mean '--num_images'?"),
        ([RUN, "--num_images", "201"], "num_images: the validation part has 200 images, got 201"),
        ([RUN, "--num_images", "0"], "num_images: must be from 1 to 1000000, got 0"),
        ([RUN, "--batch_size", "-1"], "batch_size: must be from 1 to 1000000, got -1"),
        ([RUN, "--seed", "-1"], "seed: must be at least 0"),
        ([RUN, "--device", "tpu"], "device: 'tpu' is not available here"),
        ([RUN, "--out", "figures.txt"], "out: must be a .json file, got figures.txt"),
        ([RUN, "--out", "folder.json"], "out: folder.json is a folder; name a .json file"),
        (
            [RUN, "--network", "Inceptoin"],
            "network: no FeatureNetwork is called 'Inceptoin'; there are: ",
        ),
        ([RUN, "--network", "LPIPS"], "network: LPIPS needs vgg=VALUE behind it; its options: vgg, linear ("),
        ([RUN, "--network", "LPIPS", "vgg=no.pth"], "LPIPS.vgg: no such file: no.pth"),
        ([RUN, "--network", "LPIPS", "vgg"], "network: expected options of LPIPS as KEY=VALUE, got 'vgg'"),
        ([RUN, "--network", "LPIPS", "vgh=no.pth"], "network: LPIPS has no option 'vgh'; its options: vgg, linear ("),
        ([RUN, "--network", "LPIPS", "vgg=3"], "LPIPS.vgg: no such file: 3;"),
        ([RUN, "--guidance_scale", "2"], "guidance_scale: runs/digits/vq is a tokenizer, which draws no images"),
        ([RUN, "--temperature", "0.5", "1"], "temperature: runs/digits/vq is a tokenizer, which draws no images"),
        ([RUN, "--top_k", "0"], "top_k: runs/digits/vq is a tokenizer, which draws no images"),
        ([RUN, "--features", "kept"], "features: runs/digits/vq is a tokenizer, which draws no images"),
        (["runs/unknown"], "does not say which data it was trained on"),
        (["runs/folder"], "no such folder: my_images"),
        (["runs/other"], "its data are not what it was trained on any more; image_size: (28, 28) against (8, 8)"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tokenizer("runs/unknown/aaaaaaaa", None, of=Digits())
    save_tokenizer("runs/folder/aaaaaaaa", ImageFolder(root="my_images", image_size=8), of=Digits())
    save_tokenizer("runs/other/aaaaaaaa", Digits(), of=FashionMNIST())
    Path("folder.json").mkdir()
    before = sorted(Path().rglob("*"))
    assert main(["evaluate", *arguments]) == 2
    line = capsys.readouterr().err
    assert line.startswith("arlab: error: ")
    assert line.count("\n") == 1
    assert message in line
    assert sorted(Path().rglob("*")) == before


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--help"]) == 0
    out = capsys.readouterr().out
    assert "examples:\n  arlab evaluate runs/fashion/tokenizers/vq\n" in out
