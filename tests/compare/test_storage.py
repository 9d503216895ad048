"""An evaluation on disk: what was written comes back, damaged files are told in one line."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from arlab.compare.record import Evaluation, Shown
from arlab.compare.storage import read_evaluation, read_shown, write_evaluation, write_shown
from arlab.metrics.figure import Figure
from arlab.metrics.protocol import Protocol

PROTOCOL = Protocol(split="test", num_images=10, guidance="LinearGuidance(start=1.0)", interval="by halves")
EVALUATION = Evaluation(
    run="runs/a",
    checkpoint="runs/a/checkpoints/best.ckpt",
    content="01234567",
    step=None,
    ordering="Raster",
    head="DiscreteHead",
    tokenizer="VQTokenizer",
    tokenizer_sha256="ab12",
    source="digits, the ‘old’ ones",
    figures={"FID@10": Figure(0.1 + 0.2, None, PROTOCOL, 0.0, 1.5), "latency": Figure(3, "s", Protocol(split="test"))},
    tokenizer_figures={"psnr": Figure(23.5, "dB", Protocol(split="test"))},
    nats_by_step=(1.5, 2.25),
    tokens_by_step=(1, 4),
    machine={"device": "x86_64", "cores": 2},
    measured="2024-01-01T00:00:00+00:00",
)


def pixels(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


SHOWN = Shown(
    class_names=("T-shirt", "größer"),
    grid_KPCHW=pixels(2, 3, 1, 4, 5),
    # Not contiguous, as slices are not.
    real_KPCHW=pixels(2, 3, 1, 5, 4).transpose(3, 4),
    strip_SICHW=pixels(3, 2, 1, 4, 5),
    strip_steps=(2, 4, 7),
    neighbour_GCHW=pixels(6, 1, 4, 5),
    nearest_GCHW=pixels(6, 1, 4, 5),
)


def test_figures_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "metrics.json"
    write_evaluation(EVALUATION, path, {"arlab": "0.1.0"})
    assert read_evaluation(path) == EVALUATION
    assert json.loads(path.read_text())["arlab"] == "0.1.0"
    without = dataclasses.replace(EVALUATION, nats_by_step=None, step=7, figures={})
    write_evaluation(without, path)
    assert read_evaluation(path) == without
    assert [each.name for each in path.parent.iterdir()] == ["metrics.json"]


def test_numbers_that_json_lacks_come_back(tmp_path: Path) -> None:
    odd = {"psnr": Figure(math.inf, "dB", PROTOCOL, math.nan, 3.0), "kid": Figure(math.nan, None, PROTOCOL)}
    write_evaluation(dataclasses.replace(EVALUATION, tokenizer_figures=odd), tmp_path / "metrics.json")
    held = read_evaluation(tmp_path / "metrics.json").tokenizer_figures
    # A tokenizer that loses nothing: shown from the file as when it was measured.
    assert (held["psnr"].value, held["psnr"].low, held["psnr"].high) == (math.inf, None, 3.0)
    assert (held["psnr"].unit, held["psnr"].protocol) == ("dB", PROTOCOL)
    assert math.isnan(held["kid"].value)


def test_pictures_come_back_as_they_were(tmp_path: Path) -> None:
    write_shown(SHOWN, tmp_path / "shown.safetensors")
    held = read_shown(tmp_path / "shown.safetensors")
    assert (held.class_names, held.strip_steps) == (SHOWN.class_names, SHOWN.strip_steps)
    for key in ("grid_KPCHW", "real_KPCHW", "strip_SICHW", "neighbour_GCHW", "nearest_GCHW"):
        assert torch.equal(getattr(held, key), getattr(SHOWN, key))


def test_equal_evaluations_write_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_evaluation(EVALUATION, tmp_path / f"{name}.json")
        write_shown(SHOWN, tmp_path / f"{name}.safetensors")
    for suffix in (".json", ".safetensors"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def damaged(change: dict[str, Any]) -> str:
    """The JSON with entries of another kind; ... leaves one out."""
    write_evaluation(EVALUATION, Path("whole.json"))
    held = json.loads(Path("whole.json").read_text()) | change
    return json.dumps({key: value for key, value in held.items() if value is not ...})


@pytest.mark.parametrize(
    "change",
    [
        {"run": ...},
        {"figures": ...},
        {"run": 3},
        {"step": "seven"},
        {"figures": []},
        {"figures": {"FID": 3}},
        {"figures": {"FID": {"value": "3", "unit": None, "protocol": {"split": "test"}}}},
        {"figures": {"FID": {"value": 3, "unit": None, "protocol": {"colour": "red"}}}},
        {"figures": {"FID": {"value": 3, "unit": None, "protocol": None}}},
        {"nats_by_step": 3},
        {"nats_by_step": ["x"]},
        {"tokens_by_step": None},
        {"machine": "fast"},
    ],
    ids=str,
)
def test_a_damaged_file_of_figures_is_told(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("metrics.json").write_text(damaged(change))
    with pytest.raises(
        ValueError, match=r"^metrics.json: holds no evaluation of a generator \(cut off or damaged\?\)$"
    ):
        read_evaluation(Path("metrics.json"))


@pytest.mark.parametrize("text", ["", "[]", "null", '{"run": ', "\x00\xff"])
def test_another_file_holds_no_figures(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="holds no evaluation of a generator"):
        read_evaluation(tmp_path / "metrics.json")
    with pytest.raises(ValueError, match="holds no evaluation of a generator"):
        read_evaluation(tmp_path / "missing.json")


def test_a_damaged_file_of_pictures_is_told(tmp_path: Path) -> None:
    path = tmp_path / "shown.safetensors"
    write_shown(SHOWN, path)
    whole = path.read_bytes()
    told: dict[str, Any] = {"class_names": ["a", "b"], "strip_steps": [2, 4, 7]}
    tensors = {
        "grid_KPCHW": SHOWN.grid_KPCHW,
        "real_KPCHW": SHOWN.real_KPCHW.contiguous(),
        "strip_SICHW": SHOWN.strip_SICHW,
        "neighbour_GCHW": SHOWN.neighbour_GCHW,
        "nearest_GCHW": SHOWN.nearest_GCHW,
    }
    save_file(tensors, path, {"shown": json.dumps(told)})
    assert len(read_shown(path).class_names) == 2
    for broken in (whole[:10], whole[: len(whole) - 5], b"", b"PK\x03\x04" + whole[4:]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="holds no pictures of a generator"):
            read_shown(path)
    others: tuple[tuple[dict[str, torch.Tensor], Any], ...] = (
        ({"strip_SICHW": SHOWN.strip_SICHW.float()}, told),
        ({"nearest_GCHW": pixels(1, 6, 1, 4, 5)}, told),
        ({}, told | {"class_names": ["a"]}),
        ({}, told | {"strip_steps": ["x", "y", "z"]}),
        ({}, {"class_names": ["a", "b"]}),
        ({}, ["a"]),
    )
    for changed, metadata in others:
        save_file({**tensors, **changed}, path, {"shown": json.dumps(metadata)})
        with pytest.raises(ValueError, match="holds no pictures of a generator"):
            read_shown(path)
    with pytest.raises(ValueError, match="holds no pictures of a generator"):
        read_shown(tmp_path / "missing.safetensors")
