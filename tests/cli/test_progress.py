"""The bar of the light commands: of what is done, and how fast; nothing where nobody watches."""

from __future__ import annotations

import sys

import pytest

from arlab.cli.progress import Progress


def test_it_counts_each_thing_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress("images") as progress:
        for done in (2, 5):
            progress.advance("train", done, 5)
        for _ in range(3):
            progress.step("test", 4)
        shown = {task.description: (task.completed, task.total) for task in progress._bars.tasks}
        assert shown == {"train": (5, 5), "test": (3, 4)}
        assert all(task.fields["speed"].endswith(" images/s") for task in progress._bars.tasks)


def test_nothing_is_shown_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("steps") as progress:
        progress.step("sampling", 2)
    assert capsys.readouterr() == ("", "")
