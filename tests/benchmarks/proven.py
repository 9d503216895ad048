"""The table of docs/proven.md, runs of the shipped experiments: python -m tests.benchmarks.proven [RUN ...].

A finished run gets a row, in place of the one its experiment had. Without a run the rows there are marked where their
experiments have changed since.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from arlab.cli.arguments import parse
from arlab.cli.experiment import from_request
from arlab.cli.fingerprint import key_of
from arlab.cli.quiet import quiet
from arlab.discovery import discover
from arlab.runs.content import content_of
from arlab.runs.files import write_text
from arlab.runs.folder import RunFolder
from arlab.runs.resolve import resolve

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "proven.md"
BEGIN, END = "<!-- proven: begin -->\n", "<!-- proven: end -->\n"
NOTHING = "–"
_CHANGED = ", changed since"


@dataclass(frozen=True)
class Row:
    """One line of the table; every cell as it stands there."""

    experiment: str
    commit: str
    date: str
    psnr: str
    nats: str
    fid: str
    kid: str
    images_per_second: str
    machine: str
    minutes: str
    settings: str

    def __str__(self) -> str:
        return f"| {' | '.join(astuple(self))} |"

    @property
    def key(self) -> str:
        """Of the run's settings."""
        return self.settings.removesuffix(_CHANGED)

    @property
    def changed(self) -> bool:
        """Whether it is marked: the experiment has other settings now."""
        return self.settings.endswith(_CHANGED)

    def marked(self) -> Row:
        """With the mark it deserves today."""
        return replace(self, settings=self.key + ("" if key_today(self.experiment) == self.key else _CHANGED))


def read_rows(text: str) -> list[Row]:
    """The rows of a document.

    Raises:
        ValueError: it has no table between the marks, or a row of another form.
    """
    rows = []
    for line in _table(text).splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if len(cells) != len(fields(Row)):
            raise ValueError(f"{len(fields(Row))} cells are a row, got {line!r}")
        rows.append(Row(*cells))
    return rows


def with_rows(text: str, rows: list[Row]) -> str:
    """A document with these rows in place of its own, by experiment; those of other experiments stay."""
    all_rows = {row.experiment: row for row in (*read_rows(text), *rows)}
    table = _table(text)
    head = "".join(table.splitlines(keepends=True)[:2])
    lines = [f"{all_rows[name].marked()}\n" for name in sorted(all_rows)]
    return text.replace(BEGIN + table + END, BEGIN + head + "".join(lines) + END)


@cache
def key_today(experiment: str) -> str | None:
    """The key a run of an experiment has as its file is now; None where there is no such file."""
    path = ROOT / "experiments" / f"{experiment}.yaml"
    if not path.is_file():
        return None
    discover()
    asked = from_request(parse(["fit", "--config", str(path)]))
    tokenizer = asked.tokenizer_experiment()
    return key_of(asked.prepare(None if tokenizer is None else tokenizer.prepare().folder).settings)


def row_of(run: RunFolder, repository: Path = ROOT) -> Row:
    """What a finished run proves.

    Raises:
        ValueError: it is not finished, or not a run of what an experiment's file says now.
    """
    if not run.finished:
        raise ValueError(f"{run.path}: not finished")
    summary = run.read_summary()
    experiment = str(yaml.safe_load(run.config.read_text(encoding="utf-8"))["experiment"])
    key = key_today(experiment)
    if key is None:
        raise ValueError(f"{run.path}: there is no experiments/{experiment}.yaml")
    if key != summary["key"]:
        raise ValueError(
            f"{run.path}: experiments/{experiment}.yaml gives another run, {key}: it has changed since, or the run "
            "was made with options on the command line"
        )
    measured = _measured(run)
    figures = measured.get("figures", {})
    own = {**measured.get("tokenizer_figures", {}), **figures}
    nats = _nats({name.removeprefix("val/"): value for name, value in summary["figures"].items()})
    return Row(
        experiment=experiment,
        commit=commit_before(_begun(run, summary), repository),
        date=summary["finished"][:10],
        psnr=_psnr(own, summary),
        nats=nats,
        fid=next((f"{name} {_figure(figures[name])}" for name in figures if "FID" in name), NOTHING),
        kid=next((_figure(figures[name], 1000) for name in figures if name.lower().startswith("kid")), NOTHING),
        images_per_second=_speed(figures, measured, summary),
        machine=_machine(summary["machine"]),
        minutes=f"{summary['seconds'] / 60:.1f}",
        settings=key,
    )


def refuse_unclean(repository: Path = ROOT) -> None:
    """See that the experiments are those of the commit.

    Raises:
        ValueError: a file was changed and not committed, the table itself left out.
    """
    lines = _git(repository, "status", "--porcelain", "--untracked-files=all").splitlines()
    changed = [line[3:] for line in lines if line[3:] != DOCUMENT.relative_to(ROOT).as_posix()]
    if changed:
        raise ValueError(f"{len(changed)} files are not committed, {changed[0]} among them; commit or remove them")


def commit_before(moment: datetime, repository: Path = ROOT) -> str:
    """The last commit before a moment.

    Raises:
        ValueError: there is none.
    """
    commit = _git(repository, "rev-list", "-1", f"--before={moment.isoformat()}", "HEAD")
    if not commit:
        raise ValueError(f"the training began at {moment.isoformat(timespec='seconds')}, before the first commit")
    return commit[:8]


def _git(repository: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{repository}: git cannot tell the commit ({error})") from error
    return done.stdout.rstrip()


def _table(text: str) -> str:
    begin, end = text.find(BEGIN), text.find(END)
    if not 0 <= begin < end:
        raise ValueError(f"no table between {BEGIN.strip()} and {END.strip()}")
    return text[begin + len(BEGIN) : end]


# ---- what a run tells of itself


def _begun(run: RunFolder, summary: Mapping[str, Any]) -> datetime:
    """When it was first trained: its first log names the second; without logs, as if it had never been interrupted."""
    finished = datetime.fromisoformat(summary["finished"])
    logged = [int(path.name.split(".")[3]) for path in (run.path / "logs").glob("events.out.tfevents.*")]
    return (
        datetime.fromtimestamp(min(logged), finished.tzinfo)
        if logged
        else finished - timedelta(seconds=summary["seconds"])
    )


def _measured(run: RunFolder) -> dict[str, Any]:
    """What ``arlab evaluate`` has written; nothing where it has not.

    Raises:
        ValueError: it measured another checkpoint.
    """
    path = run.path / "metrics.json"
    if not path.is_file():
        return {}
    measured: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    saved = run.evaluated
    if saved is None or content_of(saved) != measured["content"]:
        raise ValueError(f"{path}: measured of another checkpoint; run arlab evaluate {run.path}")
    return measured


def _figure(figure: Mapping[str, Any], times: float = 1) -> str:
    low, high = figure.get("low"), figure.get("high")
    interval = "" if low is None or high is None else f" ({_number(times * low)} to {_number(times * high)})"
    return NOTHING if figure["value"] is None else f"{_number(times * figure['value'])}{interval}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _psnr(figures: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    if "psnr" in figures:
        return _figure(figures["psnr"])
    logged = summary["figures"].get("val/psnr")
    return NOTHING if logged is None else _number(logged)


def _nats(logged: Mapping[str, float]) -> str:
    if "nats_per_token" in logged:
        return f"{logged['nats_per_token']:.3f}"
    bound = logged.get("nats_per_token_bound")
    return NOTHING if bound is None else f"≤ {bound:.3f}"


def _speed(figures: Mapping[str, Any], measured: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    if "images_per_second" not in figures:
        return NOTHING
    own, other = measured["machine"], summary["machine"]
    where = "" if own["device"] == other["device"] else f" on {own['device']}"
    return f"{_number(figures['images_per_second']['value'])}{where}"


def _machine(machine: Mapping[str, Any]) -> str:
    processes = f"{machine['processes']} x " if machine["processes"] > 1 else ""
    counts = [f"{machine[what]} {what if machine[what] != 1 else what[:-1]}" for what in ("cores", "threads")]
    return f"{processes}{machine['device']}, {', '.join(counts)}"


def main() -> None:
    """Write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="finished runs of shipped experiments")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="where the table is (%(default)s)")
    options = parser.parse_args()
    quiet()
    try:
        refuse_unclean()
        rows = [row_of(RunFolder(resolve(run).parent.parent)) for run in options.runs]
        write_text(options.document, with_rows(options.document.read_text(encoding="utf-8"), rows))
    except ValueError as error:
        raise SystemExit(f"proven: {error}") from error
    for row in read_rows(options.document.read_text(encoding="utf-8")):
        print(row)


if __name__ == "__main__":
    main()
