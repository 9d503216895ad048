"""``pytest --arlab-plugins=PATH``: the laws as tests of the components at PATH. Without the option it does nothing.

Every pytest where arlab is installed imports this file, so that it imports nothing but pytest.
"""

from __future__ import annotations

from pathlib import Path

import pytest

_CASES = str(Path(__file__).with_name("pytest_cases.py"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the option."""
    parser.getgroup("arlab").addoption(
        "--arlab-plugins",
        action="append",
        default=[],
        metavar="PATH",
        help="try arlab's laws on the components of this plugin's file, or of the plugins in this folder (may be "
        "repeated); tests are run beside only where some are named",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Put the tests of the laws in place of those that are run by default, or behind those that are named."""
    paths = config.getoption("arlab_plugins")
    if not paths or _CASES in config.args:
        return

    from arlab.conformance.families import family_of
    from arlab.conformance.plugin_classes import plugin_classes

    try:
        classes = [cls for path in paths for cls in plugin_classes(Path(path))]
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    if not any(family_of(cls) for cls in classes):
        raise pytest.UsageError(f"--arlab-plugins: no component with laws in {', '.join(paths)}")
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    config.args = [*config.args, _CASES] if named else [_CASES]
