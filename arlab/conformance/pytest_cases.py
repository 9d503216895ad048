"""The tests that ``pytest --arlab-plugins=PATH`` runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.conformance.law import Grid
from arlab.conformance.plugin_classes import plugin_classes
from arlab.conformance.trials import RefusedError, Trial, takes_some_grid, trials

_BROKEN: dict[tuple[type, Grid], str] = {}
"""The law that was broken first, by component and grid; those after it say little."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each component, grid and law."""
    paths = metafunc.config.getoption("arlab_plugins")
    classes = dict.fromkeys(cls for path in paths for cls in plugin_classes(Path(path)))
    if "trial" in metafunc.fixturenames:
        metafunc.parametrize("trial", trials(classes), ids=lambda trial: trial.name)
        return
    own = {cls.__name__: found for cls in classes if (found := trials([cls]))}
    metafunc.parametrize("trials_of_one", own.values(), ids=own)


def test_law(trial: Trial) -> None:
    """A law holds on a grid."""
    before = _BROKEN.get((trial.cls, trial.grid))
    if before is not None:
        pytest.skip(f"not tried: {before} is broken on this grid")
    try:
        trial.run()
    except RefusedError as refusal:
        pytest.skip(f"refused: {refusal}")
    except Exception:
        _BROKEN[trial.cls, trial.grid] = trial.law.__name__
        raise


def test_takes_some_grid(trials_of_one: list[Trial]) -> None:
    """A component takes at least one of the grids."""
    assert takes_some_grid(trials_of_one), "it refuses every grid"
