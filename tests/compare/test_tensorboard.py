"""What TensorBoard finds in the folder of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from arlab.compare.hyperparameters import hyperparameters
from arlab.compare.record import Curve, Evaluation, Member, Row, Shown, Training
from arlab.compare.tensorboard import write_tensorboard
from arlab.metrics.figure import Figure
from arlab.metrics.protocol import Protocol

PROTOCOL = Protocol(split="test")
LOSS = Curve("train/loss", (50, 100), (4.0, 9.5), (3.0, 2.5))


def member(
    ordering: str = "Raster", seed: int | None = None, config: Mapping[str, Any] | None = None, fid: float = 8.0
) -> Member:
    evaluation = Evaluation(
        run=f"runs/{ordering}",
        checkpoint="best.ckpt",
        content="0" * 8,
        step=100,
        ordering=ordering,
        head="DiscreteHead",
        tokenizer="VQTokenizer",
        tokenizer_sha256="ab12",
        source="tiny",
        figures={"FID@1000": Figure(fid, None, PROTOCOL), "kid": Figure(math.nan, None, PROTOCOL)},
        tokenizer_figures={"psnr": Figure(24.0, "dB", PROTOCOL)},
        nats_by_step=None,
        tokens_by_step=(1,),
        machine={},
        measured="2026-01-01T00:00:00+00:00",
    )
    shown = Shown(
        class_names=("ankle boot", "T-shirt"),
        grid_KPCHW=torch.full((2, 3, 1, 4, 4), 255, dtype=torch.uint8),
        real_KPCHW=torch.zeros(2, 3, 1, 4, 4, dtype=torch.uint8),
        strip_SICHW=torch.zeros(5, 2, 1, 4, 4, dtype=torch.uint8),
        strip_steps=(1, 2, 3, 4, 5),
        neighbour_GCHW=torch.zeros(0, 1, 4, 4, dtype=torch.uint8),
        nearest_GCHW=torch.zeros(0, 1, 4, 4, dtype=torch.uint8),
    )
    return Member(seed, evaluation, shown, Training(100, 10.0, None, (LOSS,)), config or {})


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()


def plugin_data(held: EventAccumulator) -> dict[str, HParamsPluginData]:
    return {tag: HParamsPluginData.FromString(it) for tag, it in held.PluginTagToContent("hparams").items()}


def test_a_run_has_its_curves_figures_and_pictures(tmp_path: Path) -> None:
    write_tensorboard([Row("fashion/raster", (member(),))], tmp_path / "board")
    held = read(tmp_path / "board" / "fashion" / "raster")
    loss = held.Scalars("train/loss")
    assert [(each.step, each.value) for each in loss] == [(50, 3.0), (100, 2.5)]
    assert loss[1].wall_time - loss[0].wall_time == pytest.approx(5.5, abs=1e-3)
    assert [(each.step, each.value) for each in held.Scalars("figures/FID@1000")] == [(100, 8.0)]
    assert set(held.Tags()["scalars"]) == {"train/loss", "figures/FID@1000", "tokenizer/psnr"}
    assert set(held.Tags()["images"]) == {"samples/ankle boot", "samples/T-shirt", "strip"}
    # 4 x 4 pixels are enlarged 16-fold, each image with 2 pixels of white beside it.
    (strip,) = held.Images("strip")
    assert (strip.width, strip.height) == (16 * (5 * 6 + 2), 16 * (2 * 6 + 2))


def test_the_hyperparameters_tab_has_all_runs_in_one_table(tmp_path: Path) -> None:
    config = {"model": {"lr": 1e-3, "tied": True}}
    rows = [
        Row("a", (member(seed=0, config=config), member(seed=1, config=config, fid=9.0))),
        Row("b", (member("NextScale", config={"seed_everything": 7, "model": {"lr": 1e-4, "tied": None}}),)),
    ]
    write_tensorboard(rows, tmp_path / "board")
    runs = {path.parent.relative_to(tmp_path / "board").as_posix() for path in (tmp_path / "board").rglob("events*")}
    assert runs == {"a/seed-0", "a/seed-1", "b"}
    described = set()
    sessions = {}
    for run in runs:
        data = plugin_data(read(tmp_path / "board" / run))
        experiment = data["_hparams_/experiment"].experiment
        described.add(experiment.SerializeToString(deterministic=True))
        assert data["_hparams_/session_end_info"].session_end_info.status
        hparams = data["_hparams_/session_start_info"].session_start_info.hparams
        sessions[run] = {name: value.number_value or value.string_value for name, value in hparams.items()}
    assert len(described) == 1
    assert {each.name for each in experiment.hparam_infos} >= {"ordering", "head", "tokenizer", "seed", "model.lr"}
    tags = {each.name.tag for each in experiment.metric_infos}
    assert tags == {"figures/FID@1000", "tokenizer/psnr"} <= set(read(tmp_path / "board" / "b").Tags()["scalars"])
    always = {"head": "DiscreteHead", "tokenizer": "VQTokenizer"}
    assert sessions["b"] == {
        **always,
        "ordering": "NextScale",
        "seed": 7.0,
        "model.lr": pytest.approx(1e-4),
        "model.tied": "null",
    }
    assert sessions["a/seed-1"] == {
        **always,
        "ordering": "Raster",
        "seed": 1.0,
        "model.lr": pytest.approx(1e-3),
        "model.tied": "true",
    }


def test_hyperparameters_are_those_in_which_rows_differ() -> None:
    def config(ordering: dict[str, Any], width: int | None) -> dict[str, Any]:
        options = {"ordering": ordering, "backbone": {"width": width, "layers": 2}, "facts": {"channels": width}}
        return {"experiment": f"x{width}", "model": {"class_path": "arlab.Generator", "init_args": options}}

    scale = {"class_path": "arlab.NextScale", "init_args": {"markov": False}}
    raster = {"class_path": "arlab.Raster"}

    def own(*widths: int | None) -> list[dict[str, Any]]:
        rows = [Row("a", (member(config=config(scale, widths[0])),)), Row("c", (member(),))]
        rows += [Row(f"b{number}", (member(config=config(raster, each)),)) for number, each in enumerate(widths[1:])]
        return [{k: v for k, v in each.items() if k.startswith("model")} for each in hyperparameters(rows)]

    key = "model.backbone.width"
    assert own(8, 16) == [{key: 8.0}, {}, {key: 16.0}]
    assert own(8, None) == [{key: "8"}, {}, {key: "null"}]
    assert own(8, 8) == [{}, {}, {}]


def test_an_older_comparison_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    board = tmp_path / "board"
    write_tensorboard([Row("old", (member(),)), Row("../x y", (member(),)), Row("x_y", (member(),))], board)
    assert {path.name for path in board.iterdir()} == {"old", "x_y", "x_y1"}
    write_tensorboard([Row("new", (member(),))], board)
    assert [path.name for path in board.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["board"]
    (board / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out: .*notes\.txt was not written by arlab compare"):
        write_tensorboard([Row("newer", (member(),))], board)
    assert (board / "new").is_dir()
