"""LlamaGen's released weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

import arlab
from arlab.checkpoints.llamagen import LlamaGen
from arlab.cli.main import main
from arlab.generators.captions import Captions
from arlab.orderings.raster import Raster
from tests.captions import random_prompts, write_prompts
from tests.checkpoints.laws import SEEDS, dice, round_trip
from tests.checkpoints.llama_generators import Sizes
from tests.checkpoints.released import tokenizer_tensors, write_images
from tests.goldens import MissingGoldenError, golden

PROMPTS = ("a cat", "a dog", "no, an owl")
IMPORT = ["import", "gpt.safetensors", "vq.safetensors", "--family", "llamagen", "--out", "run"]
SIZES = ["num_heads=2", "grid=[8,8]"]


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    sizes, grid = Sizes.drawn(rng), [rng.randint(2, 5), rng.randint(2, 5)]
    family = LlamaGen(num_heads=sizes.num_heads, grid=grid, rope_base=sizes.rope_base, norm_eps=sizes.norm_eps)
    round_trip(family, sizes.generator(Raster(), grid), tmp_path)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_texts_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    sizes, grid = Sizes.drawn(rng), [rng.randint(2, 5), rng.randint(2, 5)]
    # The classes of made-up data are called by their numbers.
    prompts = list(map(str, range(sizes.num_classes)))
    file = random_prompts(
        tmp_path / "prompts.safetensors", prompts, tokens=rng.randint(1, 9), numbers=rng.randint(1, 12), seed=seed
    )
    family = LlamaGen(
        num_heads=sizes.num_heads, grid=grid, captions=file, rope_base=sizes.rope_base, norm_eps=sizes.norm_eps
    )
    round_trip(family, sizes.generator(Raster(), grid, conditioner=Captions(file=file)), tmp_path)


# ---- by the command


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """A text-conditional release in the working directory, and what its captions are; its recorded ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    try:
        save_file(golden("llamagenA_gpt_t2i_state"), "gpt.safetensors")
        io = golden("llamagenA_gpt_t2i_io")
    except MissingGoldenError as missing:
        pytest.skip(str(missing))
    save_file(dict(tokenizer_tensors()), "vq.safetensors")
    write_prompts(Path("captions.safetensors"), PROMPTS, io["caption"], io["emb_mask"].bool())
    return io


def imported(*settings: str, more: Sequence[str] = ()) -> int:
    return main([*IMPORT, *more, "--set", *SIZES, *settings])


def test_an_import_holds_its_prompts(release: dict[str, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    assert imported("captions=captions.safetensors") == 0
    weights = load_file("run/model.safetensors")
    assert torch.equal(
        weights["conditioner.unconditional"], load_file("gpt.safetensors")["cls_embedding.uncond_embedding"]
    )
    assert torch.equal(weights["conditioner.embedding"], release["caption"])
    for name in ("gpt", "vq", "captions"):
        Path(f"{name}.safetensors").unlink()
    trained = arlab.load("run")
    assert trained.facts.class_names == PROMPTS
    # The published tokens, without guidance and with it.
    for guidance_scale, name in ((1.0, "greedy_nocfg"), (3.0, "greedy_cfg")):
        pictures = trained.sample(classes=PROMPTS, num_images=3, temperature=0, guidance_scale=guidance_scale)
        assert torch.equal(pictures.tokens, release[name])
    words = ["--classes", "no, an owl", "--num_images", "2", "--guidance_scale", "3", "--out", "two.png"]
    assert main(["sample", "run", *words]) == 0
    assert "2 images" in capsys.readouterr().out
    assert main(["export", "run", "--out", "again"]) == 0


def test_it_is_trained_on(release: dict[str, Tensor]) -> None:
    assert imported("captions=captions.safetensors") == 0
    Path("captions.safetensors").unlink()
    held = arlab.load("run").model.state_dict()
    quiet = ["--trainer.accelerator", "cpu", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    quiet += ["--trainer.callbacks", "[]", "--trainer.val_check_interval", "1", "--trainer.max_steps", "1"]
    config = ["fit", "--config", "run/config.yaml"]
    # Its own prompts, of which nothing starts anew.
    images = write_images(Path("images"), 3)
    for number, prompt in enumerate(PROMPTS):
        (images / f"class{number}").rename(images / prompt)
    assert main([*config, "--data.root", "images", *quiet]) == 0
    tuned = arlab.load("runs/tuned/run").model.state_dict()
    kept = ("conditioner.embedding", "conditioner.valid", "conditioner.unconditional")
    assert all(torch.equal(tuned[name], held[name]) for name in kept)
    assert not torch.equal(tuned["conditioner.project.0.weight"], held["conditioner.project.0.weight"])
    # Others are told by a file; what reads them is the release's.
    other = random_prompts(Path("other.safetensors"), ("class0", "class1"), tokens=6, numbers=24)
    write_images(Path("mine"), 2)
    assert main([*config, "--data.root", "mine", *quiet]) == 2
    fresh = yaml.safe_dump(["conditioner.embedding", "conditioner.valid"], default_flow_style=True).strip()
    words = ["--model.conditioner.file", other, "--model.initialisation.fresh", fresh, "--experiment", "other"]
    assert main([*config, "--data.root", "mine", *quiet, *words]) == 0
    Path(other).unlink()
    found = arlab.load("runs/other")
    assert found.facts.class_names == ("class0", "class1")
    assert found.sample(num_images=2, guidance_scale=2.0).images.shape == (2, 3, 16, 16)
    assert torch.equal(found.model.state_dict()["conditioner.unconditional"], held["conditioner.unconditional"])


def test_what_does_not_fit_is_told(release: dict[str, Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    def refused(told: str, *settings: str, more: Sequence[str] = ()) -> None:
        assert imported(*settings, more=more) == 2
        error = capsys.readouterr().err
        assert re.match(f"arlab: error: gpt.safetensors: {re.escape(told)}[^\n]*\n$", error), error
        assert not Path("run").exists()

    captions = "captions=captions.safetensors"
    refused("it has cls_embedding.cap_proj.fc1.weight, so it takes texts; give --set captions=FILE")
    refused("captions: none.safetensors: no such file", "captions=none.safetensors")
    Path("names.txt").write_text("a cat\na dog\nan owl\n")
    named = ["--classes", "names.txt"]
    refused("class 2 is called 'no, an owl', and named 'an owl'; name none", captions, more=named)
    random_prompts(Path("long.safetensors"), PROMPTS, tokens=7, numbers=24)
    told = "captions: long.safetensors: has 7 tokens a prompt, 24 numbers a token; the model takes 6 of 24"
    refused(told, "captions=long.safetensors")
    write_prompts(Path("flat.safetensors"), PROMPTS, torch.ones(3, 6), torch.ones(3, 6).bool())
    refused("captions: flat.safetensors: embedding must be floating-point", "captions=flat.safetensors")
    save_file(golden("llamagenA_gpt_state"), "gpt.safetensors")
    refused("captions: it has no tensor cls_embedding.cap_proj.fc1.weight, so it takes classes, no texts", captions)
