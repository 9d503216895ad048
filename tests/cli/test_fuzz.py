"""No configuration, however wrong, gives a traceback, hangs or leaves a file: status 0, or 2 with one line."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings

from arlab.cli.main import main
from tests.cli.mutations import Case, cases
from tests.cli.tiny_experiments import write_experiments

resource = pytest.importorskip("resource", reason="limits of memory are set in Unix's way")
SHIPPED = Path(__file__).parents[2] / "experiments"
# What makes an experiment take long, made small: what remains is a second's work where a mutation is accepted.
SMALL = {
    **{"width": 16, "num_layers": 1, "num_heads": 2, "channels": 8, "codebook_size": 16, "token_width": 4},
    **{"batch_size": 8, "num_per_class": 1, "max_steps": 2, "norm_groups": 8},
}
_SECONDS = 20
_MEMORY = 3 * 2**30
_QUICK = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


class TookTooLong(BaseException):
    """No handler of arlab's catches it."""


@pytest.fixture(scope="module")
def experiments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Path, Any]]]:
    """Every shipped experiment, small, and the tests' own, in a working directory."""
    folder = tmp_path_factory.mktemp("fuzz")
    write_experiments(folder)
    for path in sorted(SHIPPED.rglob("*.yaml")):
        copied = folder / "experiments" / path.relative_to(SHIPPED)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_text(yaml.safe_dump(_small(yaml.safe_load(path.read_text(encoding="utf-8")))))
    files = [path.relative_to(folder) for path in sorted((folder / "experiments").rglob("*.yaml"))]
    before = Path.cwd()
    os.chdir(folder)
    yield [(path, yaml.safe_load(path.read_text())) for path in files]
    os.chdir(before)


def _small(node: Any, key: str = "") -> Any:
    if isinstance(node, dict):
        return {name: _small(value, name) for name, value in node.items()}
    if isinstance(node, list):
        return [_small(item) for item in node]
    return "Digits" if node == "FashionMNIST" else SMALL.get(key, node)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """So much time and so much more memory than there is in use."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TookTooLong(f"{_SECONDS} s")

    statm = Path("/proc/self/statm")
    in_use = int(statm.read_text().split()[0]) * resource.getpagesize() if statm.exists() else 2**40
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + _MEMORY, hard))
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _try(case: Case, experiments: list[tuple[Path, Any]]) -> int:
    path, tree = experiments[case.file % len(experiments)]
    wrong = path.with_name("wrong.yaml")
    wrong.write_text(case.text(tree), encoding="utf-8")
    words = ["fit", "--config", str(wrong), *case.words(tree), "--trainer.fast_dev_run", "true"]
    words += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    files = set(Path().rglob("*"))
    told, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(said), warnings.catch_warnings(), _limits():
        warnings.simplefilter("ignore")
        status = main(words)
    line = told.getvalue()
    assert status in (0, 2), (status, words, wrong.read_text())
    if status == 2:
        assert line.startswith("arlab: error: ") and line.count("\n") == 1, line  # noqa: PT018
        assert "Does not validate against" not in line, line
    assert set(Path().rglob("*")) == files, f"left behind: {set(Path().rglob('*')) - files}"
    wrong.unlink()
    return status


linux = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads how much memory is in use from /proc")


@linux
def test_mutated_configurations(experiments: list[tuple[Path, Any]]) -> None:
    statuses = Counter[int]()

    @settings(_QUICK, max_examples=200)
    @given(cases)
    def check(case: Case) -> None:
        statuses[_try(case, experiments)] += 1

    check()
    # Both must occur often, else nothing is tested.
    assert statuses[0] >= 10, statuses
    assert statuses[2] >= 100, statuses


@linux
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_mutated_configurations(experiments: list[tuple[Path, Any]]) -> None:
    """``ARLAB_FUZZ`` in the environment says how many."""
    statuses = Counter[int]()

    @settings(_QUICK, max_examples=int(os.environ.get("ARLAB_FUZZ", "3000")), derandomize=False)
    @given(cases)
    def check(case: Case) -> None:
        statuses[_try(case, experiments)] += 1

    check()
    print(f"accepted {statuses[0]}, refused {statuses[2]}")
