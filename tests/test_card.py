"""The card of an export says what the export and the figures beside the run say, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from arlab.cli.main import main
from arlab.data.digits import Digits
from arlab.generators.conditioners import ClassLabel
from arlab.runs import resolve
from arlab.runs.card import card as describe
from arlab.runs.checkpoint import KEY
from arlab.runs.content import content_of
from arlab.runs.export import export
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.tiny_runs import save_run, tiny_generator

RUN = Path("runs/tiny/raster/aaaaaaaa")
FIGURES = {
    "FID@500": {"value": 3.2812, "low": 2.65, "high": 3.9, "protocol": {"split": "validation", "seed": 0}},
    "nats_per_token": {"value": 3.365, "low": None, "high": None, "unit": "nats", "protocol": {"split": "validation"}},
    "psnr": {"value": None, "unit": "dB", "protocol": {"split": "validation"}},
}


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    save_run(tiny_generator(), RUN)


def card(run: Path, out: str = "exported") -> str:
    return (export(run, out) / "README.md").read_text()


def measured(content: str) -> None:
    held = {"content": content, "figures": FIGURES, "tokenizer_figures": {"ssim": {"value": 0.9, "protocol": {}}}}
    (RUN / "metrics.json").write_text(json.dumps(held))


def test_what_a_generator_is() -> None:
    text = card(RUN)
    front = yaml.safe_load(text.split("---")[1])
    assert front == {"library_name": "arlab", "tags": ["arlab", "image-generation", "raster", "discretehead"]}
    assert "\n# exported\n" in text
    for line in (
        "| tokenizer | PixelTokenizer(num_levels=8) |",
        "| ordering | Raster |",
        "| images | 4 x 3, gray |",
        "| 3 classes | Shoe, ankle boot, bag |",
        "None were measured with arlab.",
        'arlab.load("FOLDER").sample(',
        "arlab sample FOLDER ",
    ):
        assert line in text
    assert "license" not in text.lower()


def test_measuring_is_offered_where_the_data_are_known() -> None:
    held = resolve.read(RUN)
    for data in (Digits().spec(), None):
        text = describe({**held, KEY: {**held[KEY], "data": data}}, name="mine")
        assert ("arlab evaluate FOLDER" in text) == (data is not None)


@pytest.mark.parametrize(
    ("class_names", "drop_probability", "advised"),
    [(["bag", "shoe"], None, True), (["bag", "shoe"], 0.1, True), (["bag", "shoe"], 0.0, False), ([], None, False)],
)
def test_guidance_is_advised_where_there_is_something_to_compare_with(
    class_names: list[str], drop_probability: float | None, advised: bool
) -> None:
    held = resolve.read(RUN)
    options = dict(held[KEY]["model"]["init_args"])
    if drop_probability is not None:
        options["conditioner"] = ClassLabel(drop_probability=drop_probability).spec()
    model, facts = {**held[KEY]["model"], "init_args": options}, {**held[KEY]["facts"], "class_names": class_names}
    text = describe({**held, KEY: {**held[KEY], "model": model, "facts": facts}}, name="mine")
    assert ("arlab sample FOLDER --num_images 8\n" in text) == (".sample(num_images=8)" in text) == (not advised)
    assert ("--num_images 8 --guidance_scale 2\n" in text) == ("guidance_scale=2.0)" in text) == advised


def test_figures_stand_with_interval_and_protocol() -> None:
    measured(content_of(RUN / "checkpoints/last.ckpt"))
    text = card(RUN)
    for line in (
        "| FID@500 | 3.281 | 2.65 – 3.9 | 1 |",
        "| nats_per_token | 3.365 nats |  | 2 |",
        "| psnr | – |  | 2 |",
        "| ssim of the tokenizer | 0.9 |  | 3 |",
        "1. split validation, seed 0",
        "2. split validation",
    ):
        assert line in text.splitlines(), line


def test_figures_of_another_checkpoint_are_left_out() -> None:
    measured("00000000")
    assert "None were measured" in card(RUN)


def test_damaged_figures_are_told() -> None:
    (RUN / "metrics.json").write_text('{"content": ')
    with pytest.raises(ValueError, match=r"metrics\.json: holds no figures \(cut off or damaged\?\)"):
        card(RUN)


def test_a_tokenizer_and_what_evaluate_writes_of_it() -> None:
    run = save_run(VQTokenizer(facts=Digits().facts, token_width=4), "runs/tiny/vq/bbbbbbbb")
    held = json.loads((export(run, "first") / "arlab.json").read_text())
    # As a Trainer writes it: with the data it was trained on.
    (Path("first") / "arlab.json").write_text(json.dumps({**held, "data": Digits().spec()}))
    assert main(["evaluate", "first", "--num_images", "100", "--device", "cpu"]) == 0
    assert Path("first.metrics.json").is_file()
    text = card(Path("first"), "second")
    assert yaml.safe_load(text.split("---")[1])["tags"] == ["arlab", "image-tokenizer"]
    assert ".reconstruct(image_BCHW)" in text
    assert f"| data | {Digits().facts.source} (Digits) |" in text
    value = json.loads(Path("first.metrics.json").read_text())["figures"]["psnr"]["value"]
    assert f"| psnr | {value:.4g} dB |" in text
