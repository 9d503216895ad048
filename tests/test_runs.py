"""RUN means what it says, and a loaded model is the one that was saved."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import lightning as L
import pytest
import torch

import arlab
from arlab.backbones.transformer import Transformer
from arlab.configurable import from_spec
from arlab.data.digits import Digits
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, LinearGuidance
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from arlab.runs import checkpoint as saving
from arlab.runs.export import export
from arlab.runs.folder import RunFolder
from arlab.runs.resolve import load_model, resolve
from arlab.tokenizers.pixel import PixelTokenizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.trained import Trained, labels_of
from tests.tiny_runs import save_run, tiny_generator


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)


@pytest.fixture
def generator():
    return tiny_generator()


@pytest.fixture
def trained(generator):
    save_run(generator, Path("runs/tiny/raster/aaaaaaaa"))
    return arlab.load("runs/tiny/raster")


# ---- what RUN means


def test_run_folder_is_its_best_checkpoint_else_its_last(generator):
    run = save_run(generator, Path("runs/tiny/raster/aaaaaaaa"))
    assert resolve(run) == run / "checkpoints/last.ckpt"
    save_run(generator, run, "best.ckpt")
    assert resolve(str(run)) == run / "checkpoints/best.ckpt"
    assert resolve(run / "checkpoints/last.ckpt") == run / "checkpoints/last.ckpt"


def test_experiment_folder_is_its_newest_run_by_last_checkpoint(generator):
    old, new, empty = (Path("runs/tiny/raster") / key for key in ("zzzzzzzz", "aaaaaaaa", "bbbbbbbb"))
    for age, run in ((100, old), (50, new)):
        path = save_run(generator, run) / "checkpoints/last.ckpt"
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
    (empty / "checkpoints").mkdir(parents=True)
    assert resolve("runs/tiny/raster") == new / "checkpoints/last.ckpt"
    # A best checkpoint of long ago does not make a run old.
    best = save_run(generator, new, "best.ckpt") / "checkpoints/best.ckpt"
    os.utime(best, (0, 0))
    assert resolve("runs/tiny/raster") == best


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        ("runs/tiny/rastr", "Did you mean runs/tiny/raster"),
        ("tiny/raster", "Did you mean runs/tiny/raster"),
        ("runs/tiny", "Did you mean runs/tiny/raster"),
        ("elsewhere", "There are: runs/tiny/raster"),
        ("runs/tiny/raster/unborn", "has no checkpoint yet"),
    ],
)
def test_unknown_run_is_told_what_is_near(asked, offered, generator):
    save_run(generator, Path("runs/tiny/raster/aaaaaaaa"))
    Path("runs/tiny/raster/unborn/checkpoints").mkdir(parents=True)
    with pytest.raises(ValueError, match=asked) as caught:
        resolve(asked)
    assert offered in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_trained_yet():
    with pytest.raises(ValueError, match="Nothing has been trained under runs/ yet"):
        resolve("runs/tiny/raster")


# ---- loading


def test_loaded_model_is_the_saved_one_in_eval_mode(generator):
    loaded = load_model(save_run(generator.train(), Path("run")), Generator)
    assert not loaded.training
    assert loaded.spec() == generator.spec()
    for name, value in generator.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_another_kind_of_model_is_refused_by_name(generator):
    run = save_run(generator, Path("run"))
    with pytest.raises(ValueError, match="run: is a Generator, expected a Tokenizer"):
        load_model(run, Tokenizer)


@pytest.mark.parametrize("damage", ["cut off", "not a checkpoint"])
def test_damaged_checkpoint_is_named(damage, generator):
    path = save_run(generator, Path("run")) / "checkpoints/last.ckpt"
    path.write_bytes(path.read_bytes()[:500] if damage == "cut off" else b"not a checkpoint")
    with pytest.raises(ValueError, match=r"last\.ckpt"):
        arlab.load("run")


def test_what_would_run_code_is_refused_and_what_is_damaged_is_called_so():
    torch.save({"state_dict": {}, "arlab": Path("x")}, "more.ckpt")
    with pytest.raises(ValueError, match=r"more\.ckpt: refused, it holds more than weights and plain data"):
        saving.read("more.ckpt")
    Path("text.ckpt").write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"text\.ckpt: not a readable checkpoint"):
        saving.read("text.ckpt")


def test_model_built_in_python_and_from_its_spec_write_the_same(generator):
    rebuilt = from_spec(json.loads(json.dumps(generator.spec())), Generator)
    rebuilt.load_state_dict(generator.state_dict())
    first, second = {}, {}
    generator.on_save_checkpoint(first)
    rebuilt.on_save_checkpoint(second)
    assert first == second


def test_what_a_trainer_saves_loads_and_samples():
    data = Digits(batch_size=4)
    model = Generator(
        tokenizer=PixelTokenizer(facts=data.facts),
        ordering=Raster(),
        backbone=Transformer(width=16, num_layers=1),
        head=DiscreteHead(),
    )
    trainer = L.Trainer(
        max_steps=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    trainer.save_checkpoint("model.ckpt")
    assert saving.read("model.ckpt")["arlab"]["data"]["class_path"] == "arlab.data.digits.Digits"
    pictures = arlab.load("model.ckpt").sample(classes=["7"], num_images=2, device="cpu")
    assert pictures.labels.tolist() == [7, 7]
    assert pictures.images.shape == (2, 1, 8, 8)


# ---- export


def test_export_gives_equal_samples_without_pickle(trained):
    folder = export("runs/tiny/raster", "out/exported")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "arlab.json",
        "model.safetensors",
        "tokenizer.safetensors",
    ]
    again = arlab.load(folder)
    assert again.model.spec() == trained.model.spec()
    assert again.facts == trained.facts
    assert torch.equal(again.sample(num_images=5).tokens, trained.sample(num_images=5).tokens)
    assert torch.equal(again.sample(num_images=5).images, trained.sample(num_images=5).images)
    assert (export(folder, "out/copy") / "arlab.json").read_bytes() == (folder / "arlab.json").read_bytes()


def test_exported_tokenizer_reconstructs_the_same():
    facts = Digits().facts
    tokenizer = VQTokenizer(facts=facts, token_width=4).eval()
    image_BCHW = torch.rand(3, 1, *facts.image_size) * 2 - 1
    before = Trained(tokenizer).reconstruct(image_BCHW)
    folder = export(save_run(tokenizer, "run"), "exported")
    assert not (folder / "tokenizer.safetensors").exists()
    assert torch.equal(arlab.load(folder).reconstruct(image_BCHW), before)


def test_exported_generator_keeps_its_tokenizers_weights():
    facts = Digits().facts
    tokenizer = VQTokenizer(facts=facts, token_width=4)
    model = Generator(
        tokenizer=str(save_run(tokenizer, "runs/tokenizer")),
        ordering=Raster(),
        backbone=Transformer(width=16, num_layers=1),
        head=DiscreteHead(),
    )
    exported = arlab.load(export(save_run(model, "runs/generator"), "exported"))
    image_BCHW = torch.rand(3, 1, *facts.image_size) * 2 - 1
    assert torch.equal(exported.reconstruct(image_BCHW), Trained(tokenizer.eval()).reconstruct(image_BCHW))
    assert not any(name.startswith("tokenizer") for name in exported.model.state_dict())


def test_export_refuses_a_target_that_holds_something(trained):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="full exists and is not an empty folder"):
        export("runs/tiny/raster", "full")
    assert [path.name for path in Path("full").iterdir()] == ["mine.txt"]
    Path("empty").mkdir()
    assert arlab.load(export("runs/tiny/raster", "empty")).facts == trained.facts


def test_failed_export_leaves_nothing(trained, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("arlab.runs.export.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        export("runs/tiny/raster", "out/exported")
    assert list(Path("out").iterdir()) == []


def test_broken_export_is_named(trained):
    folder = export("runs/tiny/raster", "exported")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="exported: not a readable export"):
        arlab.load(folder)


@pytest.mark.parametrize("damage", [{"model": None}, {"facts": [1]}, {"origin": {}}, {"facts": {"class_names": 5}}])
def test_an_export_that_tells_nonsense_is_told_in_a_line(damage, trained):
    folder = export("runs/tiny/raster", "out")
    entry = json.loads((folder / "arlab.json").read_text())
    (folder / "arlab.json").write_text(json.dumps(entry | damage))
    with pytest.raises(ValueError, match=r"^out: .* not as arlab writes it"):
        export("out", "again")
    assert not Path("again").exists()


# ---- sampling


@pytest.mark.parametrize(
    ("key", "part"),
    [
        ("tokenizer", "runs/other"),
        ("initialisation", {"class_path": "arlab.generators.from_run.FromRun", "init_args": {"run": "runs/other"}}),
        ("conditioner", {"class_path": "arlab.generators.captions.Captions", "init_args": {"file": "secret"}}),
    ],
)
def test_files_that_a_model_of_others_names_are_not_opened(key, part, trained):
    folder = export("runs/tiny/raster", "out")
    entry = json.loads((folder / "arlab.json").read_text())
    entry["model"]["init_args"][key] = part
    (folder / "arlab.json").write_text(json.dumps(entry))
    with pytest.raises(ValueError, match="names other files"):
        arlab.load(folder)


def test_samples_depend_on_seed_and_place_alone(trained):
    whole = trained.sample(num_images=7, seed=3, guidance_scale=2.0)
    for batch_size in (1, 3, 7):
        parts = trained.sample(num_images=7, seed=3, guidance_scale=2.0, batch_size=batch_size)
        assert torch.equal(parts.tokens, whole.tokens)
        assert torch.equal(parts.images, whole.images)
    assert torch.equal(trained.sample(num_images=4, seed=3, guidance_scale=2.0).tokens, whole.tokens[:4])
    assert not torch.equal(trained.sample(num_images=7, seed=4, guidance_scale=2.0).tokens, whole.tokens)
    assert len(whole.tokens.unique(dim=0)) > 1


def test_classes_by_index_and_name_in_turn(trained):
    pictures = trained.sample(classes=["BAG", 0, "1"], num_images=5)
    assert pictures.labels.tolist() == [2, 0, 1, 2, 0]
    assert pictures.names == ["bag", "Shoe", "ankle boot", "bag", "Shoe"]
    assert trained.sample(num_images=4).labels.tolist() == [0, 1, 2, 0]


def test_a_class_called_by_a_number_is_found_by_its_name_first():
    facts = DataFacts("shuffled", 1, (2, 2), class_names=("2", "0", "1"))
    assert labels_of(["2", "0", "1", 2], facts) == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": [3]}, "classes: no class 3; there are: 0 Shoe, 1 ankle boot, 2 bag"),
        ({"classes": ["boot"]}, "no class 'boot'"),
        ({"classes": ["-1"]}, "no class '-1'"),
        ({"classes": []}, "classes: at least one"),
        ({"num_images": 0}, "num_images: must be from 1"),
        ({"batch_size": 0}, "batch_size: must be from 1"),
        ({"top_p": 0.0}, "top_p"),
        ({"device": "tpu"}, "device: 'tpu' is not available here; there are: cpu"),
        ({"device": "cuda:77"}, "device: 'cuda:77' is not available here"),
        ({"device": "meta"}, "device: 'meta' is not available here"),
        ({"device": "cpu:3"}, "device: 'cpu:3' is not available here"),
        ({"guidance_scale": 2.0, "guidance": LinearGuidance()}, "guidance_scale: given beside guidance"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, trained):
    with pytest.raises(ValueError, match=message) as caught:
        trained.sample(**arguments)
    assert "\n" not in str(caught.value)


def test_a_guidance_schedule_takes_the_place_of_the_scale(trained):
    scheduled = trained.sample(num_images=6, guidance=ConstantGuidance(guidance_scale=3.0))
    assert torch.equal(scheduled.tokens, trained.sample(num_images=6, guidance_scale=3.0).tokens)
    assert not torch.equal(scheduled.tokens, trained.sample(num_images=6).tokens)


def test_steps_are_reported(trained):
    seen = []
    trained.sample(num_images=3, batch_size=2, on_step=lambda partial: seen.append(partial.progress.drawn))
    assert seen == list(range(1, 13)) * 2


# ---- looking


def test_grid_has_a_column_for_each_class_and_enlarges_small_images(trained):
    pictures = trained.sample(num_images=6)
    picture = pictures.grid()
    # 3 columns of 3 pixels and 2 rows of 4 pixels, 2 between and around, 16 times.
    assert picture.shape == (16 * (2 * 6 + 2), 16 * (3 * 5 + 2), 3)
    assert pictures.grid(columns=6, scale=1).shape == (8, 32, 3)


def test_notebooks_show_a_png(trained):
    assert trained.sample(num_images=2)._repr_png_().startswith(b"\x89PNG")


def test_a_tokenizer_encodes_and_decodes_but_is_not_sampled(trained):
    image_BCHW = torch.rand(2, 1, 4, 3) * 2 - 1
    tokenizer = Trained(trained.tokenizer)
    for each in (trained, tokenizer):
        assert torch.equal(each.decode(each.encode(image_BCHW)), each.reconstruct(image_BCHW))
        assert (each.reconstruct(image_BCHW) - image_BCHW).abs().max() <= 2 / 8
    with pytest.raises(ValueError, match="is a PixelTokenizer, expected a Generator"):
        tokenizer.sample()
    with pytest.raises(ValueError, match="expected a Generator or a Tokenizer"):
        Trained(L.LightningModule())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_does_not_outlive_its_process_in_a_loaders(tmp_path):
    folder = RunFolder(tmp_path / "run")
    told, tells = os.pipe()
    with folder.locked():
        child = os.fork()
        if child == 0:
            os.write(tells, b"here")
            signal.pause()
        os.read(told, 4)
    try:
        with folder.locked():
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
