"""The table of docs/proven.md: its form, what gets into it, and that rows which say nothing any more are marked."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from arlab.runs.content import content_of
from arlab.runs.folder import RunFolder
from tests.benchmarks import proven
from tests.benchmarks.proven import NOTHING, Row, commit_before, key_today, read_rows, refuse_unclean, row_of, with_rows

EXPERIMENT = "digits/raster_pixels"
EMPTY = f"before\n{proven.BEGIN}| experiment | … |\n|---|---|\n{proven.END}after\n"
BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COMMITTED = BEGUN - timedelta(hours=1)


def row(experiment: str, key: str) -> Row:
    return Row(experiment, "0123abcd", "2026-01-02", *[NOTHING] * 7, key)


def git(folder: Path, *words: str, when: datetime = COMMITTED) -> None:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    dated = {f"GIT_{role}_DATE": when.isoformat() for role in ("AUTHOR", "COMMITTER")}
    subprocess.run(
        ["git", "-C", str(folder), *words], check=True, capture_output=True, env={**os.environ, **who, **dated}
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("needs git")
    folder = tmp_path / "repository"
    (folder / "docs").mkdir(parents=True)
    git(folder, "init")
    for number, when in enumerate((COMMITTED, BEGUN + timedelta(hours=1))):
        (folder / "docs" / "proven.md").write_text(str(number))
        git(folder, "add", ".", when=when)
        git(folder, "commit", "-m", str(number), when=when)
    return folder


def run_of(folder: Path, key: str, figures: dict[str, Any] | None = None) -> RunFolder:
    """A finished run as it lies on disk."""
    run = RunFolder(folder / key)
    (run.path / "checkpoints").mkdir(parents=True)
    run.best.write_bytes(b"weights")
    run.config.write_text(yaml.safe_dump({"experiment": EXPERIMENT}))
    run.write_summary(
        {
            "key": key,
            "figures": {"val/nats_per_token": 1.25, "val/loss": 1.25},
            "seconds": 90.0,
            "finished": (BEGUN + timedelta(seconds=90)).isoformat(),
            "machine": {"device": "x86_64", "processes": 1, "cores": 2, "threads": 2},
        }
    )
    if figures is not None:
        held = {
            "content": content_of(run.best),
            "figures": figures,
            "tokenizer_figures": {"psnr": {"value": 24.04, "low": None, "high": None}},
            "machine": {"device": "Another GPU"},
        }
        (run.path / "metrics.json").write_text(json.dumps(held))
    return run


def test_rows_of_the_document_are_of_experiments_that_are_there_and_marked_where_those_changed() -> None:
    text = proven.DOCUMENT.read_text()
    rows = read_rows(text)
    names = [each.experiment for each in rows]
    assert names == sorted(set(names))
    for each in rows:
        assert (proven.ROOT / "experiments" / f"{each.experiment}.yaml").is_file()
        assert re.fullmatch(r"[0-9a-f]{8}", each.commit)
        assert re.fullmatch(r"[0-9a-f]{8}", each.key)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", each.date)
        assert each.marked() == each, f"experiments/{each.experiment}.yaml has changed (or back): make proven"
    assert with_rows(text, []) == text


def test_a_row_takes_the_place_of_its_experiments_older_one() -> None:
    other, key = "fashion/tokenizers/vq", key_today(EXPERIMENT)
    assert key is not None
    text = with_rows(with_rows(EMPTY, [row(other, "00000000")]), [row(EXPERIMENT, "11111111")])
    assert [(each.experiment, each.key, each.changed) for each in read_rows(text)] == [
        (EXPERIMENT, "11111111", True),
        (other, "00000000", True),
    ]
    text = with_rows(text, [row(EXPERIMENT, key)])
    assert [(each.key, each.changed) for each in read_rows(text)] == [(key, False), ("00000000", True)]
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert replace(row("no/such", key)).marked().changed
    for damaged in ("no table", EMPTY.replace(proven.END, f"| a | b |\n{proven.END}")):
        with pytest.raises(ValueError, match=r"no table between|cells are a row"):
            read_rows(damaged)


def test_a_finished_run_tells_its_row(tmp_path: Path, repository: Path) -> None:
    key = key_today(EXPERIMENT)
    assert key is not None
    first = subprocess.run(
        ["git", "-C", str(repository), "rev-list", "--max-parents=0", "HEAD"], capture_output=True, text=True
    ).stdout[:8]
    bare = Row(
        experiment=EXPERIMENT,
        commit=first,
        date="2026-01-02",
        psnr=NOTHING,
        nats="1.250",
        fid=NOTHING,
        kid=NOTHING,
        images_per_second=NOTHING,
        machine="x86_64, 2 cores, 2 threads",
        minutes="1.5",
        settings=key,
    )
    assert row_of(run_of(tmp_path / "bare", key), repository) == bare
    figures = {
        "FID@1000": {"value": 12.345, "low": 11.5, "high": 13.0},
        "kid": {"value": 0.0123, "low": None, "high": None},
        "images_per_second": {"value": 41.0},
    }
    run = run_of(tmp_path / "measured", key, figures)
    assert row_of(run, repository) == replace(
        bare, psnr="24.04", fid="FID@1000 12.35 (11.5 to 13)", kid="12.3", images_per_second="41 on Another GPU"
    )
    run.best.write_bytes(b"other weights")
    with pytest.raises(ValueError, match="measured of another checkpoint"):
        row_of(run, repository)


def test_other_runs_are_refused(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(ValueError, match=f"experiments/{EXPERIMENT}.yaml gives another run"):
        row_of(run_of(tmp_path, "00000000"), repository)
    run = run_of(tmp_path, "11111111")
    run.config.write_text("experiment: no/such\n")
    with pytest.raises(ValueError, match=r"there is no experiments/no/such\.yaml"):
        row_of(run, repository)
    run.summary.unlink()
    with pytest.raises(ValueError, match="not finished"):
        row_of(run, repository)
    with pytest.raises(ValueError, match="before the first commit"):
        commit_before(COMMITTED - timedelta(days=1), repository)


def test_uncommitted_files_are_refused_but_for_the_table(repository: Path) -> None:
    (repository / "docs" / "proven.md").write_text("a new row")
    refuse_unclean(repository)
    (repository / "new.py").touch()
    with pytest.raises(ValueError, match=r"1 files are not committed, new\.py among them"):
        refuse_unclean(repository)
