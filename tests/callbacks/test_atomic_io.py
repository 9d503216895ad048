from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from arlab.callbacks.atomic_io import AtomicIO
from arlab.runs.folder import RunFolder, write_text


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints/last.ckpt"
    AtomicIO().save_checkpoint({"step": 1}, path)

    def break_off(checkpoint: object, file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(OSError, match="disk full"):
        AtomicIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    leftover = tmp_path / "checkpoints/.last.ckpt.123.tmp"
    write_text(leftover, "half")
    write_text(tmp_path / "config.yaml", "whole")
    RunFolder(tmp_path).sweep()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["config.yaml"]
