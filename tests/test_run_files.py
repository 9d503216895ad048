"""Files are whole or not there, and what cannot be written is named as it was asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arlab.runs.files import refuse_unwritable, write_text, written_whole


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_error_of_the_draft_names_the_path() -> None:
    Path("taken").mkdir()
    (Path("taken") / "inside").touch()
    with pytest.raises(OSError, match="Is a directory") as told:
        write_text(Path("taken"), "text")
    assert told.value.filename == "taken"
    with pytest.raises(OSError, match="No such file") as told, written_whole("out/deep") as draft:
        (draft / "er.txt").write_text("text")
    assert told.value.filename == "out/deep/er.txt"
    assert sorted(path.name for path in Path().iterdir()) == ["out", "taken"]
    assert not list(Path("out").iterdir())


def test_another_error_keeps_its_name() -> None:
    with pytest.raises(FileNotFoundError) as told, written_whole("out"):
        Path("elsewhere.txt").read_text()
    assert told.value.filename == "elsewhere.txt"


@pytest.mark.parametrize("name", ["file/x.json", "file/a/b/x.json"])
def test_nothing_lies_below_a_file(name: str) -> None:
    Path("file").write_text("")
    with pytest.raises(NotADirectoryError):
        write_text(Path(name), "text")
    with pytest.raises(ValueError, match=f"^out: {name} cannot be written, file is no folder$"):
        refuse_unwritable("out", Path(name))


def test_permission_is_asked_of_the_folder_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("there").mkdir()
    for name in ("x.json", "there/x.json", "there/a/b", "."):
        refuse_unwritable("out", Path(name))
    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != "there")
    refuse_unwritable("out", Path("x.json"))
    with pytest.raises(
        ValueError, match=r"^out: there/a/b cannot be written, there is no permission to write into there$"
    ):
        refuse_unwritable("out", Path("there/a/b"))
