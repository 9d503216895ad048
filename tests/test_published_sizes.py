"""The recipes at published settings are built as published: on the meta device, the parameters within 1 %."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from arlab.cli.config import read
from arlab.cli.schema import checked
from arlab.configurable import from_spec, to_plain
from arlab.data.facts import DataFacts
from arlab.discovery import discover
from arlab.tokenizers.learned import LearnedTokenizer

FOLDER = Path(__file__).parents[1] / "experiments" / "imagenet256"
FACTS = DataFacts("imagenet", channels=3, image_size=(256, 256), class_names=tuple(map(str, range(1000))))


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.yaml")), ids=lambda path: path.stem)
def test_parameters_are_those_published(path: Path) -> None:
    discover()
    told = re.search(r"^# Parameters: ([\d.]+) M[;,] (?:published: ([\d.]+) M)?", path.read_text(), re.MULTILINE)
    assert told is not None, "the header tells the number of parameters"
    spec = checked(read(path, []))["model"]
    spec["init_args"]["facts"] = to_plain(FACTS)
    with torch.device("meta"):
        model = from_spec(spec, LearnedTokenizer)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert millions == pytest.approx(float(told[1]), abs=0.06)
    assert all(parameter.is_meta for parameter in model.parameters())
    if told[2] is not None:
        assert millions == pytest.approx(float(told[2]), rel=0.01)
