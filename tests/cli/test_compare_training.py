"""Which training begins when, what happens where one fails, and signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from arlab.cli import compare_training
from arlab.cli.compare_child import follow
from arlab.cli.compare_process import Child, last_line
from arlab.cli.compare_training import Job, train
from arlab.runs.folder import RunFolder
from arlab.runs.interrupted import Interrupted

QUIET = Console(quiet=True)


class Scripted:
    """A process that ends when it has been looked at so often, with this status."""

    def __init__(self, looks: int, ended: int) -> None:
        self.looks = looks
        self.ended = ended
        self.signals: list[int] = []

    def status(self) -> int | None:
        self.looks -= 1
        return self.ended if self.looks < 0 else None

    def stop(self, number: int) -> None:
        self.signals.append(number)
        self.looks, self.ended = 0, 128 + number

    def error(self) -> str:
        return "it broke"


class Stage:
    """Where processes are started, and what was started beside what."""

    def __init__(self, *, looks: int = 2, broken: str = "") -> None:
        self.looks = looks
        self.broken = broken
        self.started: dict[str, Scripted] = {}
        self.beside: list[set[str]] = []

    def start(self, job: Job, at_once: int) -> Scripted:
        self.beside.append({name for name, other in self.started.items() if other.looks >= 0})
        self.started[job.name] = Scripted(self.looks, 1 if job.name == self.broken else 0)
        return self.started[job.name]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_training, "_LOOK_EVERY", 0.01)


def job(name: str, tokenizer: RunFolder | None = None) -> Job:
    return Job(name, ("fit",), Path("logs") / f"{name}.txt", tokenizer)


def run(stage: Stage, jobs: list[Job], at_once: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(compare_training, "start", stage.start)
    return {failure.job.name: failure.error for failure in train(jobs, at_once, QUIET)}


@pytest.mark.parametrize("at_once", [1, 2, 3, 9])
def test_so_many_at_a_time_and_no_more(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    assert run(stage, [job(name) for name in "abcdef"], at_once, monkeypatch) == {}
    assert list(stage.started) == list("abcdef")
    assert max(map(len, stage.beside)) == min(at_once, 6) - 1


def test_one_trains_a_tokenizer_and_those_that_share_it_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, own = RunFolder(tmp_path / "shared"), RunFolder(tmp_path / "own")
    stage = Stage(looks=60)
    jobs = [job("first", shared), job("second", shared), job("third", shared), job("other", own), job("pixels")]

    def finish(waited: float) -> None:
        time.sleep(waited)
        shared.write_summary({})

    finishing = threading.Thread(target=finish, args=(0.2,))
    finishing.start()
    assert run(stage, jobs, 4, monkeypatch) == {}
    finishing.join()
    assert list(stage.started) == ["first", "other", "pixels", "second", "third"]
    # Not before the tokenizer was finished, but before the run that trained it was.
    assert stage.beside[3] == {"first", "other", "pixels"}


def test_where_a_tokenizer_fails_those_that_wait_for_it_are_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = RunFolder(tmp_path / "shared")
    stage = Stage(broken="first")
    failed = run(stage, [job("first", shared), job("second", shared), job("pixels")], 1, monkeypatch)
    assert failed == {"first": "it broke", "second": "it broke"}
    assert list(stage.started) == ["first", "pixels"]
    # Where it is the generator that fails, the tokenizer serves the others.
    shared.write_summary({})
    stage = Stage(broken="first")
    assert run(stage, [job("first", shared), job("second", shared)], 1, monkeypatch) == {"first": "it broke"}
    assert list(stage.started) == ["first", "second"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_goes_to_each_child_once_and_nothing_more_begins(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, before = Stage(looks=1000), signal.getsignal(number)
    threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
    with pytest.raises(Interrupted, match=number.name):
        run(stage, [job(name) for name in "abc"], 2, monkeypatch)
    assert {name: process.signals for name, process in stage.started.items()} == {"a": [number], "b": [number]}
    assert signal.getsignal(number) is before


def ended(child: Child) -> int:
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        status = child.status()
        if status is not None:
            return status
        time.sleep(0.05)
    raise AssertionError("it does not end")


def test_a_child_is_arlab_and_tells_its_last_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "a.txt"
    child = Child(["nonsense"], log=log, shown=False, environment={})
    assert ended(child) == 2
    assert child.error().startswith("arlab has no command 'nonsense'.")
    assert last_line(log).startswith("arlab: error: arlab has no command 'nonsense'.")
    assert capfd.readouterr() == ("", "")
    child = Child(["--version"], log=log.with_name("b.txt"), shown=True, environment={})
    assert ended(child) == 0
    assert capfd.readouterr().out.startswith("arlab ")
    assert not log.with_name("b.txt").exists()
    assert last_line(log.with_name("b.txt")) == ""


def test_threads_are_shared_unless_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(compare_training, "Child", lambda words, **options: seen.append(options["environment"]))
    monkeypatch.setattr(compare_training, "_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for at_once in (1, 2, 3, 20):
        compare_training.start(job("a"), at_once)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    compare_training.start(job("a"), 2)
    assert seen == [{}, {"OMP_NUM_THREADS": "4"}, {"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "1"}, {}]


@pytest.mark.skipif(sys.platform == "win32", reason="a process keeps its parent's number there")
def test_a_child_stops_itself_when_its_parent_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    follow(-1)
    assert sent == [(os.getpid(), signal.SIGTERM)]
