"""arlab import on the command line: what comes of released files, and every mistake in one line."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

import arlab
from arlab.cli.main import main
from arlab.generators.generator import Generator
from tests.checkpoints.released import (
    IMPORT,
    SETTINGS,
    generator_tensors,
    tokenizer_tensors,
    write_images,
    write_release,
)
from tests.goldens import golden

OUT = ["--out", "released/tiny"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_release()
    yield
    assert not Path("owned").exists()


# ---- what comes of it


def test_an_import_is_a_run_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*IMPORT, *OUT]) == 0
    told = capsys.readouterr().out
    assert told.startswith("gpt.pt: LlamaGen, entry model, 18 tensors\nvq.pt: LlamaGenVQ, entry model, ")
    assert "\nreleased/tiny  Generator of 0.1 M parameters: Raster, Transformer, DiscreteHead, VQTok" in told
    assert "fine-tune: arlab fit --config released/tiny/config.yaml --data.root FOLDER" in told
    names = ["README.md", "arlab.json", "config.yaml", "model.safetensors", "tokenizer.safetensors"]
    assert sorted(path.name for path in Path("released/tiny").iterdir()) == names
    weights = load_file("released/tiny/model.safetensors")
    assert torch.equal(
        weights["conditioner.embedding.weight"], generator_tensors()["cls_embedding.embedding_table.weight"]
    )
    pictures = arlab.load("released/tiny").sample(classes=[3, 7], num_images=2, guidance_scale=2.0)
    assert pictures.images.shape == (2, 3, 16, 16)
    card = Path("released/tiny/README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["library_name"] == "arlab"
    assert "released weights of LlamaGen (gpt.pt); Autoregressive Model Beats Diffusion" in card
    assert "](https://arxiv.org/abs/2406.06525); its tokenizer: LlamaGenVQ (vq.pt).\n" in card
    assert "arlab fit --config FOLDER/config.yaml --model.tokenizer FOLDER --model.initialisation.run FOLDER " in card


def test_an_export_of_an_import_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*IMPORT, *OUT]) == 0
    assert main(["export", "released/tiny", "--out", "again/there"]) == 0
    card, former = Path("again/there/README.md").read_text(), Path("released/tiny/README.md").read_text()
    assert card == former.replace("# tiny", "# there")
    # Its configuration names the folder that it lies in.
    config, former = Path("again/there/config.yaml").read_text(), Path("released/tiny/config.yaml").read_text()
    assert config == former.replace("released/tiny", "again/there")
    assert config.count("again/there") == 3
    # As its owner left it, where it begins with nothing here.
    Path("released/tiny/config.yaml").write_text("# mine\nmodel: {class_path: Generator}\n")
    assert main(["export", "released/tiny", "--out", "third"]) == 0
    assert Path("third/config.yaml").read_text() == "# mine\nmodel: {class_path: Generator}\n"
    Path("released/tiny/config.yaml").write_text("model: [")
    told = refused(["export", "released/tiny", "--out", "fourth"], capsys)
    assert told == "released/tiny/config.yaml: not a readable configuration; mend it, or move it away"


def test_each_file_is_credited_as_what_it_is() -> None:
    def credit(out: str) -> str:
        return str(json.loads(Path(f"{out}/arlab.json").read_text())["origin"])

    # A tokenizer is not the paper's whose generator it is used by.
    assert main(["import", "vq.pt", "--family", "nar", "--image_size", "16", "--out", "vq"]) == 0
    assert credit("vq") == "LlamaGenVQ (vq.pt)"
    assert main(["import", "gpt.pt", "--tokenizer", "vq", *SETTINGS, "--out", "first"]) == 0
    assert credit("first").endswith(", arXiv 2406.06525; its tokenizer: LlamaGenVQ (vq.pt)")
    # Of a generator's run its tokenizer alone.
    assert main(["import", "gpt.pt", "--tokenizer", "first", *SETTINGS, "--out", "second"]) == 0
    assert credit("second") == credit("first")
    # One trained here.
    entry = json.loads(Path("vq/arlab.json").read_text())
    del entry["origin"]
    Path("vq/arlab.json").write_text(json.dumps(entry))
    assert main(["import", "gpt.pt", "--tokenizer", "vq", *SETTINGS, "--out", "third"]) == 0
    assert credit("third").endswith("; its tokenizer: vq, trained with arlab")


@pytest.mark.parametrize("to", [torch.float16, torch.bfloat16, torch.float64])
def test_whatever_precision_a_release_has_ours_is_float32(to: torch.dtype) -> None:
    rounded = {name: value.to(to) for name, value in generator_tensors().items()}
    torch.save(rounded, "gpt.pt")
    assert main([*IMPORT, *OUT]) == 0
    held = load_file("released/tiny/model.safetensors")["backbone.norms.0.weight"]
    assert held.dtype == torch.float32
    assert torch.equal(held, rounded["norm.weight"].float())


@pytest.mark.parametrize("entry", ["", "model", "module", "state_dict"])
def test_weights_are_found_wherever_releases_keep_them(entry: str) -> None:
    tensors = {f"module.{name}": value for name, value in generator_tensors().items()}
    extra = {"args": argparse.Namespace(lr=1.0), "epoch": 3, "optimizer": {"state": {0: torch.ones(2)}}}
    torch.save({entry: tensors, **extra} if entry else {**tensors, **extra}, "gpt.pt")
    assert main([*IMPORT, *OUT]) == 0


def test_safetensors_and_old_files_are_read() -> None:
    save_file(generator_tensors(), "gpt.safetensors")
    torch.save(dict(tokenizer_tensors()), "vq.pt", _use_new_zipfile_serialization=False)
    assert main(["import", "gpt.safetensors", "vq.pt", *SETTINGS, *OUT]) == 0


def test_a_tokenizer_alone_and_beneath_a_generator() -> None:
    assert main(["import", "vq.pt", "--family", "llamagen", "--out", "vq"]) == 0
    assert main(["import", "gpt.pt", "--tokenizer", "vq", *SETTINGS, *OUT]) == 2  # of 256 pixels, not of 16
    assert main([*IMPORT, "--out", "first"]) == 0
    # A generator's run stands for its tokenizer.
    assert main(["import", "gpt.pt", "--tokenizer", "first", *SETTINGS, *OUT]) == 0
    assert Path("first/tokenizer.safetensors").read_bytes() == Path("released/tiny/tokenizer.safetensors").read_bytes()


def test_classes_are_named_by_a_file_or_by_folders_of_images() -> None:
    Path("names.txt").write_text("\n".join(f"kind {letter}" for letter in "abcdefghij") + "\n")
    assert main([*IMPORT, "--classes", "names.txt", "--out", "by_file"]) == 0
    assert arlab.load("by_file").sample(classes=["kind c"], num_images=1).labels.tolist() == [2]
    images = write_images(Path("images"), 10, each=5)
    assert main([*IMPORT, "--images", str(images), "--out", "by_folder"]) == 0
    assert json.loads(Path("by_folder/arlab.json").read_text())["facts"]["class_names"][:2] == ["class0", "class1"]
    # Its own classes: none of its weights starts anew, and the images are known.
    config = yaml.safe_load(Path("by_folder/config.yaml").read_text())
    assert config["model"]["init_args"]["initialisation"]["init_args"]["fresh"] == []
    assert config["data"]["init_args"]["root"] == "images"


# ---- training on


def fit(*more: str) -> int:
    words = ["--trainer.accelerator", "cpu", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    words += ["--trainer.callbacks", "[]", "--trainer.val_check_interval", "1", *more]
    return main(["fit", "--config", "released/tiny/config.yaml", "--data.root", "mine", *words])


def test_it_is_trained_on_with_other_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*IMPORT, *OUT]) == 0
    write_images(Path("mine"), 3)
    assert fit("--trainer.max_steps", "2") == 0
    run = next(Path("runs/tuned/tiny").iterdir())
    tuned = arlab.load(run)
    assert isinstance(tuned.model, Generator)
    assert tuned.facts.class_names == ("class0", "class1", "class2")
    # What it holds is whole, and close to what it began with.
    options = tuned.model.spec()["init_args"]
    assert isinstance(options, dict)
    assert options["initialisation"] is None
    released, name = load_file("released/tiny/model.safetensors"), "backbone.blocks.0.attention.qkv.weight"
    assert 0 < float((tuned.model.state_dict()[name] - released[name]).abs().max()) < 1e-3
    # The same command again finds it finished, and a moved release is the same release.
    capsys.readouterr()
    assert fit("--trainer.max_steps", "2") == 0
    assert "finished already" in capsys.readouterr().out
    os.rename("released/tiny", "moved")
    words = ["--model.tokenizer", "moved", "--model.initialisation.run", "moved", "--trainer.max_steps", "2"]
    os.makedirs("released/tiny")
    Path("moved/config.yaml").rename("released/tiny/config.yaml")
    assert fit(*words) == 0
    assert "finished already" in capsys.readouterr().out
    # Samples, and a card that says where it began, without the release.
    os.rename("moved", "gone")
    assert main(["sample", str(run), "--num_images", "3", "--out", "grid.png"]) == 0
    assert main(["export", str(run), "--out", "exported"]) == 0
    assert (
        "trained with arlab on mine, from the weights of LlamaGen (gpt.pt); " in Path("exported/README.md").read_text()
    )


def test_going_on_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*IMPORT, *OUT]) == 0
    write_images(Path("mine"), 3)
    plugin = Path("plugins/stop.py")
    plugin.parent.mkdir()
    plugin.write_text(
        "from pathlib import Path\nimport lightning as L\n\n"
        "class Stop(L.Callback):\n"
        "    def on_train_batch_start(self, trainer, *_):\n"
        "        if trainer.global_step == 2 and Path('stop').exists():\n"
        "            raise KeyboardInterrupt\n"
    )
    words = ["--trainer.max_steps", "4", "--trainer.callbacks+", "Stop"]
    weights = []
    for stop in (False, True):
        monkeypatch.setenv("ARLAB_RUNS", f"runs_{stop}")
        if stop:
            Path("stop").touch()
            assert fit(*words) == 130
            Path("stop").unlink()
        assert fit(*words) == 0
        weights.append(arlab.load(f"runs_{stop}/tuned/tiny").model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_with_other_classes_it_is_told_what_is_to_start_anew(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*IMPORT, *OUT]) == 0
    write_images(Path("mine"), 3)
    assert fit("--trainer.max_steps", "2", "--model.initialisation.fresh", "[]") == 2
    assert capsys.readouterr().err.splitlines() == [
        "arlab: error: model.initialisation.run: released/tiny: conditioner.embedding.weight is (11, 64), the model's "
        "is (4, 64); what is to start anew goes into fresh: conditioner."
    ]


# ---- mistakes


class Command:
    """What would run when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch owned",)


def saved(**changed: object) -> None:
    """gpt.pt, with these entries beside its weights, or others in their place."""
    torch.save({"model": generator_tensors(), **changed}, "gpt.pt")


def altered(name: str, value: Tensor | None) -> None:
    """gpt.pt, with another tensor of this name, or without one."""
    tensors = {key: tensor for key, tensor in generator_tensors().items() if key != name}
    saved(model=tensors if value is None else {**tensors, name: value})


def written(content: bytes) -> None:
    Path("gpt.pt").write_bytes(content)


def whole() -> bytes:
    return Path("gpt.pt").read_bytes()


DAMAGED = "gpt.pt: not a readable file of weights (cut off or damaged?)"
MORE = "gpt.pt: refused, it holds more than weights, plain data and argparse.Namespace"
FILES: tuple[tuple[str, Callable[[], object], str], ...] = (
    ("no file", lambda: Path("gpt.pt").unlink(), "gpt.pt: no such file"),
    (
        "a folder",
        lambda: (Path("gpt.pt").unlink(), Path("gpt.pt").mkdir()),
        "gpt.pt: is a folder; name the file of weights in it",
    ),
    ("an empty file", lambda: written(b""), DAMAGED),
    ("a text", lambda: written(b"not weights\n"), DAMAGED),
    ("half a file", lambda: written(whole()[: len(whole()) // 2]), DAMAGED),
    ("a pickle cut off", lambda: written(b"\x80\x02}q\x00(X"), DAMAGED),
    ("a command", lambda: saved(extra=Command()), f"{MORE} ({os.system.__module__}.system)"),
    ("an array", lambda: saved(extra=np.ones(2)), f"{MORE} (numpy."),
    ("a path", lambda: saved(extra=argparse.Namespace(out=Path("x"))), f"{MORE} (pathlib"),
    ("a module", lambda: saved(extra=torch.nn.Linear(1, 1)), f"{MORE} (torch.nn"),
    ("a list", lambda: torch.save([torch.ones(2)], "gpt.pt"), "gpt.pt: holds a list, expected tensors by name"),
    (
        "numbers for names",
        lambda: torch.save({1: torch.ones(2)}, "gpt.pt"),
        "gpt.pt: holds a dict, expected tensors by",
    ),
    ("no tensors", lambda: torch.save({"epoch": 1, "lr": 2.0}, "gpt.pt"), "gpt.pt: holds no tensors; it has epoch, lr"),
    ("nothing", lambda: torch.save({}, "gpt.pt"), "gpt.pt: holds no tensors; it has nothing"),
    (
        "weights deeper down",
        lambda: torch.save({"trainer": {"net": generator_tensors()}}, "gpt.pt"),
        "gpt.pt: holds no tensors; it has trainer",
    ),
    (
        "other weights",
        lambda: torch.save({"fc.weight": torch.ones(2)}, "gpt.pt"),
        "gpt.pt: is no LlamaGen checkpoint, it has no tensor tok_embeddings.weight",
    ),
    (
        "a weight too few",
        lambda: altered("layers.1.ffn_norm.weight", None),
        "gpt.pt: of LlamaGen, but it has no tensor layers.1.ffn_norm.weight",
    ),
    (
        "a weight too many",
        lambda: altered("layers.0.bias", torch.ones(2)),
        "gpt.pt: of LlamaGen, but its tensor layers.0.bias has no place in such a model",
    ),
    (
        "another shape",
        lambda: altered("norm.weight", torch.ones(3)),
        "gpt.pt: of LlamaGen, but norm.weight is of shape (3,), expected (64,)",
    ),
    ("too few axes", lambda: altered("layers.0.feed_forward.w1.weight", torch.ones(3)), "gpt.pt: "),
    (
        "whole numbers",
        lambda: altered("norm.weight", torch.ones(64, dtype=torch.int8)),
        "gpt.pt: of LlamaGen, but norm.weight is no tensor of floating-point numbers, but of int8",
    ),
    (
        "a sparse weight",
        lambda: altered("output.weight", torch.ones(64, 64).to_sparse()),
        "gpt.pt: output.weight is no dense tensor of real numbers, but of float32",
    ),
    (
        "one number for many",
        lambda: altered("cls_embedding.embedding_table.weight", torch.ones(1, 1).expand(2**26, 64)),
        "gpt.pt: cls_embedding.embedding_table.weight of shape (67108864, 64) is not there as a whole, but 4 bytes",
    ),
    (
        "no classes at all",
        lambda: altered("cls_embedding.embedding_table.weight", torch.ones(0, 64)),
        "gpt.pt: its cls_embedding.embedding_table.weight is of shape (0, 64), which is empty",
    ),
)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that fails says: one line, and nothing is written."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("arlab: error: ")
    assert told.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return told.err.removeprefix("arlab: error: ").rstrip("\n")


@pytest.mark.parametrize(("make", "answer"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_file_that_is_not_what_it_should_be(
    make: Callable[[], object], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make()
    assert refused([*IMPORT, *OUT], capsys).startswith(answer)


@pytest.mark.parametrize("content", [b"", b"text", (10**17).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"])
def test_broken_safetensors(content: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("gpt.safetensors").write_bytes(content)
    told = refused(["import", "gpt.safetensors", "vq.pt", *SETTINGS, *OUT], capsys)
    assert told == "gpt.safetensors: not a readable safetensors file (cut off or damaged?)"


COMMANDS = (
    ("gpt.pt vq.pt --family gpt", "family: no family is called 'gpt'; there are: "),
    ("gpt.pt vq.pt", "the following arguments are required: --family (see arlab import --help)"),
    ("--family llamagen", "the following arguments are required: FILE (see arlab import --help)"),
    ("gpt.pt vq.pt --family llamagen --preset huge", "preset: LlamaGen has no 'huge'; it has: b_256, "),
    ("gpt.pt vq.pt --family llamagen --set heads=4", "set: LlamaGen has no setting 'heads'; it has: captions, "),
    ("gpt.pt vq.pt --family llamagen --set num_heads", "set: expected KEY=VALUE, got 'num_heads'"),
    (
        "gpt.pt vq.pt --family llamagen --set num_heads=4 grid=[8,8] num_heads=2",
        "set: num_heads is given 2 times; give",
    ),
    (
        "gpt.pt vq.pt --family llamagen --set num_heads=4 grid=16",
        "set: grid: expected a list of int or null, got 16 (tokens along height and width; 16 for 256 pixels, 24 for "
        "384); a list is written grid=[A,B]",
    ),
    ("gpt.pt vq.pt --family llamagen --set num_heads=four", "set: num_heads: expected int or null, got 'four'"),
    ("gpt.pt vq.pt --family llamagen --set num_heads=4.5", "set: num_heads: expected int or null, got 4.5"),
    ("gpt.pt vq.pt --family llamagen --set grid=8", "set: grid: expected a list of int or null, got 8"),
    ("gpt.pt vq.pt --family llamagen --set grid=[8,a]", "set: grid[1]: expected int, got 'a'"),
    ("gpt.pt vq.pt --family llamagen --set grid=[8", "set: grid: not a value of YAML, got '[8'"),
    ("gpt.pt vq.pt --family llamagen --set rope_base=nan num_heads=4 grid=[8,8]", "set: rope_base: expected float"),
    (
        "gpt.pt vq.pt --family llamagen --set num_heads=4 grid=[8]",
        "gpt.pt: grid: expected [height, width] of at most 65536 tokens in all, got [8]",
    ),
    (
        "gpt.pt vq.pt --family llamagen --set num_heads=4 grid=[8,0]",
        "gpt.pt: grid: expected [height, width] of at most 65536 tokens in all, got [8, 0",
    ),
    (
        "gpt.pt vq.pt --family llamagen --set num_heads=5 grid=[8,8]",
        "gpt.pt: num_heads: must divide a width of 64 into multiples of 4, got 5",
    ),
    (
        "gpt.pt vq.pt --family llamagen",
        "gpt.pt: its tensors do not tell num_heads, grid; give --set num_heads=... grid=..., or a released size by "
        "--preset b_256|",
    ),
    ("gpt.pt vq.pt --family llamagen --preset b_256", "gpt.pt: num_heads: must divide a width of 64 into "),
    ("gpt.pt {S}", "files: LlamaGen needs its tokenizer: name the file of a LlamaGenVQ, too, or --tokenizer RUN"),
    ("gpt.pt gpt.pt {S}", "files: gpt.pt and gpt.pt are both of a generator; name one"),
    ("vq.pt gpt.pt vq.pt {S}", "files: vq.pt and vq.pt are both of a tokenizer; name one"),
    (
        "gpt.pt vq.pt {S} --tokenizer RUN",
        "tokenizer: named beside its file; give one of the two, with the file of a ge",
    ),
    (
        "vq.pt {S} --tokenizer RUN",
        "tokenizer: named beside its file; give one of the two, with the file of a generator",
    ),
    ("gpt.pt {S} --tokenizer nowhere", "nowhere: no run, experiment, checkpoint or export here."),
    ("gpt.pt {S} --tokenizer vq.pt", "vq.pt: not written by arlab"),
    ("gpt.pt vq.pt {S} --classes three.txt", "gpt.pt: has 10 classes, but --classes or --images names 3"),
    ("gpt.pt vq.pt {S} --classes twice.txt", "classes: twice.txt holds a name twice"),
    ("gpt.pt vq.pt {S} --classes none.txt", "classes: none.txt: not a readable text file"),
    ("gpt.pt vq.pt {S} --classes gpt.pt", "classes: gpt.pt: not a readable text file"),
    ("gpt.pt vq.pt {S} --images mine", "gpt.pt: has 10 classes, but --classes or --images names 3"),
    ("gpt.pt vq.pt {S} --images nowhere", "data.root: no such folder: nowhere"),
    (
        "gpt.pt vq.pt {S} --images mine --classes three.txt",
        "classes: named beside images, whose folders name them; give",
    ),
    ("gpt.pt vq.pt {S} --out mine", "out: mine exists and is not an empty folder; name another"),
    ("gpt.pt vq.pt {S} --out gpt.pt", "out: gpt.pt exists and is not an empty folder; name another"),
    ("gpt.pt vq.pt {S} --out gpt.pt/x", "out: gpt.pt/x cannot be written, gpt.pt is no folder"),
    ("gpt.pt vq.pt {S} --presets b", "arlab import does not take '--presets'. Did you mean '--preset'?"),
)


@pytest.mark.parametrize(("line", "answer"), COMMANDS, ids=[row[0] for row in COMMANDS])
def test_a_command_that_cannot_be(line: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("three.txt").write_text("a\nb\nc\n")
    Path("twice.txt").write_text("a\na\n")
    write_images(Path("mine"), 3, each=5)
    words = ["import", *line.replace("{S}", " ".join(SETTINGS)).split()]
    told = refused(words if "--out" in words else [*words, *OUT], capsys)
    assert told.startswith(answer)


def test_another_familys_file_is_told_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(golden("narA_gpt_state"), "nar.pt")
    told = refused(["import", "nar.pt", "vq.pt", *SETTINGS, *OUT], capsys)
    assert told.startswith("nar.pt: of LlamaGen, but ")
    assert told.endswith("; it looks like NAR")
    told = refused(["import", "gpt.pt", "vq.pt", "--family", "nar", *OUT], capsys)
    assert told.startswith("gpt.pt: is no NAR checkpoint, it has no tensor ")
    assert told.endswith("; it looks like LlamaGen")


def test_a_failed_writing_leaves_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "disk")

    Path("released").mkdir()
    monkeypatch.setattr("arlab.runs.export.save_file", full)
    assert refused([*IMPORT, *OUT], capsys) == "disk: No space left on device"


def test_the_size_of_a_tokenizer_is_its_own_affair(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["import", "vq.pt", "--family", "llamagen", *OUT, "--image_size"]
    assert refused([*given, "0"], capsys) == "image_size: expected one or two numbers from 1 to 4096, got [0]"
    assert refused([*IMPORT, *OUT, "--image_size", "16"], capsys).startswith("image_size: is told by the generator's")
    assert main([*given, "16", "24"]) == 0
    assert arlab.load("released/tiny").facts.image_size == (16, 24)


def test_an_import_without_its_tokenizer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*IMPORT, *OUT]) == 0
    Path("released/tiny/tokenizer.safetensors").unlink()
    assert refused(["sample", "released/tiny"], capsys).endswith(
        "the weights of its tokenizer are missing (tokenizer.safetensors, of an export)"
    )


def test_a_preset_of_another_size_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--preset", "b_256", "--set", "num_heads=4", "grid=[8,8]", *OUT]
    told = refused(["import", "gpt.pt", "vq.pt", "--family", "llamagen", *words], capsys)
    assert told.startswith("preset: b_256 is of width 768, the file of 64; of the presets are b_256 768, ")
    told = refused(["import", "gpt.pt", "vq.pt", "--family", "llamagen", "--preset", "b_256", *OUT], capsys)
    assert told.endswith("got 12; is --preset b_256 of this file's size?")


def test_classes_are_called_as_told_whatever_the_tokenizers_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "vq.pt", "--family", "llamagen", "--image_size", "16", "--out", "vq"]) == 0
    Path("names.txt").write_text("".join(f"name {number}\n" for number in range(10)))
    words = ["--tokenizer", "vq", "--classes", "names.txt", "--set", "num_heads=4", "grid=[8,8]"]
    assert main(["import", "gpt.pt", "--family", "llamagen", *words, *OUT]) == 0
    assert arlab.load("released/tiny").facts.class_names == tuple(f"name {number}" for number in range(10))
