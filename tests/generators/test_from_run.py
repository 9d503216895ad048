"""Training on from a run: which weights are taken, and what is said where some do not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import arlab
from arlab.configurable import from_spec
from arlab.generators.from_run import FromRun
from arlab.generators.generator import Generator, load_tokenizer
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from arlab.runs.export import export
from arlab.tokenizers.pixel import PixelTokenizer
from tests.tiny import tiny_backbone
from tests.tiny_runs import TINY_FACTS, save_run, tiny_generator


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_run(tiny_generator(), "run")


def tuned(start: FromRun | None, *class_names: str) -> Generator:
    """As ``tiny_generator``, drawn anew, of the same or of other classes."""
    torch.manual_seed(1)
    other = tiny_generator().spec()
    options = other["init_args"]
    assert isinstance(options, dict)
    facts = dataclasses.replace(TINY_FACTS, class_names=class_names or TINY_FACTS.class_names)
    parts = {name: from_spec(options[name], object) for name in ("backbone", "head", "conditioner", "ordering")}
    torch.manual_seed(1)
    return Generator(
        tokenizer=PixelTokenizer(facts=TINY_FACTS, num_levels=8), facts=facts, initialisation=start, **parts
    )


@pytest.mark.parametrize("named", ["run", "run/checkpoints/last.ckpt", "exported"])
def test_all_weights_are_the_runs(named: str) -> None:
    export("run", "exported")
    released, drawn, made = tiny_generator().state_dict(), tuned(None).state_dict(), tuned(FromRun(run=named))
    assert any(not torch.equal(value, released[name]) for name, value in drawn.items())
    assert all(torch.equal(value, released[name]) for name, value in made.state_dict().items())
    # What is written of it asks for no run, and is that of the model it is.
    assert made.spec() == tuned(None).spec()
    assert made.initialisation is None


def test_what_is_fresh_stays_as_it_was_drawn() -> None:
    released, drawn = tiny_generator().state_dict(), tuned(None, "cat", "dog").state_dict()
    made = tuned(FromRun(run="run", fresh=["conditioner.", "head.outputs"]), "cat", "dog").state_dict()
    for name, value in made.items():
        fresh = name.startswith(("conditioner.", "head.outputs"))
        assert torch.equal(value, drawn[name] if fresh else released[name]), name


def test_a_checkpoint_says_where_it_began() -> None:
    checkpoint: dict[str, dict[str, object]] = {}
    tuned(FromRun(run="run")).on_save_checkpoint(checkpoint)
    assert checkpoint["arlab"]["started_from"] == "run"
    again = tuned(FromRun(run=str(save_run(tuned(FromRun(run="run")), "next"))))
    assert again.started_from == "run"
    tuned(None).on_save_checkpoint(checkpoint)
    assert "started_from" not in checkpoint["arlab"]


@pytest.mark.parametrize(
    ("start", "classes", "message"),
    [
        (
            FromRun(run="run"),
            ("cat",),
            r"run: conditioner.embedding.weight is \(4, 16\), the model's is \(2, 16\); what is to start anew goes "
            r"into fresh: conditioner\.$",
        ),
        (FromRun(run="none"), (), "initialisation.run: none: no run, experiment, checkpoint or export here"),
        (FromRun(run="tokenizer"), (), "initialisation.run: tokenizer: is a PixelTokenizer, expected a Generator"),
        (
            FromRun(run="run", fresh=["conditoner."]),
            (),
            "initialisation.fresh: no weight's name begins with 'conditoner.'; they begin with backbone., conditioner",
        ),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(start: FromRun, classes: tuple[str, ...], message: str) -> None:
    save_run(PixelTokenizer(facts=TINY_FACTS, num_levels=8), "tokenizer")
    with pytest.raises(ValueError, match=message) as caught:
        tuned(start, *classes)
    assert "\n" not in str(caught.value)


def of_depth(num_layers: int, start: FromRun | None) -> Generator:
    return Generator(
        tokenizer=PixelTokenizer(facts=TINY_FACTS, num_levels=8),
        ordering=Raster(),
        backbone=tiny_backbone(num_layers=num_layers),
        head=DiscreteHead(),
        initialisation=start,
    )


@pytest.mark.parametrize(("depth", "what"), [(3, "it has no"), (1, "the model has no")])
def test_missing_and_left_over_blocks_are_told_by_their_beginnings(depth: int, what: str) -> None:
    save_run(of_depth(2, None), "two")
    block = rf"backbone\.blocks\.{max(depth, 2) - 1}\."
    with pytest.raises(ValueError, match=rf"two: {what} {block}\S+ \(and \d+ more\); .*fresh: {block}$"):
        of_depth(depth, FromRun(run="two"))
    made = of_depth(depth, FromRun(run="two", fresh=[f"backbone.blocks.{max(depth, 2) - 1}."]))
    assert made.started_from == "two"


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"initialisation\.run: must name a run"):
        FromRun(run="")
    with pytest.raises(ValueError, match=r"initialisation\.fresh: every name begins with ''"):
        FromRun(run="run", fresh=[""])


def test_a_generators_run_stands_for_its_tokenizer_and_no_more_of_it_is_read() -> None:
    export("run", "exported")
    # Without the generator's own weights.
    Path("exported/model.safetensors").write_bytes(b"")
    for named in ("run", "exported"):
        tokenizer = load_tokenizer(named)
        assert isinstance(tokenizer, PixelTokenizer)
        assert tokenizer.spec() == tiny_generator().tokenizer.spec()
    with pytest.raises(ValueError, match="not a readable export"):
        arlab.load("exported")
    Path("exported/tokenizer.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="exported: not a readable export"):
        load_tokenizer("exported")


def test_an_export_is_known_by_its_weights_not_by_its_card() -> None:
    from arlab.runs.content import content_of

    folder = export("run", "exported")
    before = content_of(folder)
    (folder / "README.md").write_text("my own words")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    assert content_of(folder) == before
    entry = json.loads((folder / "arlab.json").read_text())
    (folder / "arlab.json").write_text(json.dumps({**entry, "version": "other"}))
    assert content_of(folder) != before
    assert load_file(folder / "model.safetensors")
