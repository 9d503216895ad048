from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch

from arlab.callbacks.atomic_io import AtomicIO
from arlab.runs.files import write_text, written_whole
from arlab.runs.folder import RunFolder


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoints/last.ckpt"
    AtomicIO().save_checkpoint({"step": 1}, path)

    def break_off(checkpoint: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(torch, "save", break_off)
    with pytest.raises(OSError, match="disk full"):
        AtomicIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_folder_is_written_whole_too(tmp_path: Path) -> None:
    target = tmp_path / "new/folder"

    def break_off() -> None:
        with written_whole(target) as draft:
            write_text(draft / "one.txt", "half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        break_off()
    assert list(target.parent.iterdir()) == []
    with written_whole(target) as draft:
        write_text(draft / "deep/one.txt", "whole")
        assert not target.exists()
    assert [path.relative_to(target).as_posix() for path in target.rglob("*")] == ["deep", "deep/one.txt"]
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    write_text(tmp_path / "checkpoints/.last.ckpt.123.tmp", "half")
    write_text(tmp_path / ".folder.123.tmp/one.txt", "half")
    write_text(tmp_path / "config.yaml", "whole")
    RunFolder(tmp_path).sweep()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["checkpoints", "config.yaml"]
