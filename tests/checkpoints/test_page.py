"""What docs/released-weights.md says can be typed: families, presets, settings and guidance are there."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

from arlab.checkpoints.importing import families
from arlab.cli import evaluate, export, import_released, sample
from arlab.cli.main import COMMANDS
from arlab.cli.sampling_options import drawing_of

PAGE = (Path(__file__).parents[2] / "docs/released-weights.md").read_text()
LINES = re.findall(r"^(?:    )?arlab (.*?)(?:  +#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_its_commands_are_understood(line: str) -> None:
    name, *words = shlex.split(line)
    assert name in COMMANDS
    if name == "import":
        options = import_released.parser().read(words)
        family = families()[options.family]
        assert options.preset is None or options.preset in family.presets
        kinds = (family, *family.tokenizers)
        for setting in options.settings:
            assert any(setting.partition("=")[0] in inspect.signature(kind).parameters for kind in kinds)
    elif name == "sample":
        drawing_of(sample.parser().read(words))
    elif name == "evaluate":
        evaluate.parser().read(words)
    elif name == "export":
        export.parser().read(words)


@pytest.mark.parametrize("name", families())
def test_every_family_has_its_section_and_every_preset_its_name(name: str) -> None:
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
    told = set(re.findall(r"`(\w+)`", sections[name])) | set(re.findall(r"--preset (\w+)", sections[name]))
    assert set(families()[name].presets) <= told
    assert f"| [{name}](#{name}) |" in PAGE
