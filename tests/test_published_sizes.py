"""The recipes at published settings are built as published: on the meta device, the parameters within 1 %."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arlab.generators.generator import Generator
from tests.benchmarks.recipes import FOLDER, GENERATORS, ROOT, built, recipe, row, size

CODES, CLASSES, IMAGES = 16384, 1000, 1_281_167
TOKENIZERS = sorted((FOLDER / "tokenizers").glob("*.yaml"))


def llamagen(width: int, layers: int, ways: int = 1) -> int:
    """Parameters of the released LlamaGen, or of NAR where there are two ways out.

    A block: attention 4 D², SwiGLU 3 D F with F = 8 D / 3 rounded up to a multiple of 256, two norms of D. Around them
    an embedding of the codes, one of the classes and 'no class', and per way a norm and an output. NAR's second way
    has a block of its own.
    """
    hidden = -(-8 * width // 3 // 256) * 256
    block = 4 * width**2 + 3 * width * hidden + 2 * width
    embeddings = (CODES + CLASSES + 1) * width
    return (layers + ways - 1) * block + embeddings + ways * (width + width * CODES)


def var(depth: int) -> int:
    """Parameters of the released VAR of this depth, of width D = 64 · depth.

    A block: maps of attention 4 D² and of the MLP 8 D², of the class to six vectors 6 D²; biases of queries, values,
    the two last maps, the hidden layer and the six vectors 2 + 2 + 4 + 6 D; a scale for each of ``depth`` heads.
    Around them tables of 680 places, 10 levels, a start and 1,001 classes; from 32 numbers of a code to D; the class to
    two vectors 2 D² + 2 D; the output to 4,096 codes.
    """
    width = 64 * depth
    block = 18 * width**2 + 14 * width + depth
    tables = (680 + 10 + 1 + CLASSES + 1) * width
    return depth * block + tables + (32 + 1) * width + 2 * width**2 + 2 * width + 4096 * (width + 1)


COMPUTED = {
    "llamagen_b": llamagen(768, 12),
    "llamagen_l": llamagen(1024, 24),
    "nar_b": llamagen(768, 12, ways=2),
    "nar_m": llamagen(1024, 18, ways=2),
    "nar_l": llamagen(1024, 24, ways=2),
    "var_d16": var(16),
    "var_d20": var(20),
    "var_d24": var(24),
    "var_d30": var(30),
    "nfig": var(16),
}


def told(path: Path) -> re.Match[str]:
    """The line of a header that tells the number of parameters."""
    found = re.search(r"^# Parameters: ([\d.]+) M[;,] (?:published: ([\d.]+) ([MB]))?", path.read_text(), re.MULTILINE)
    assert found is not None, "the header tells the number of parameters"
    return found


@pytest.mark.parametrize("path", [*GENERATORS, *TOKENIZERS], ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_parameters_are_those_published(path: Path) -> None:
    model, header = built(path), told(path)
    millions = size(model) / 1e6
    assert millions == pytest.approx(float(header[1]), abs=0.06)
    assert all(parameter.is_meta for parameter in model.parameters())
    if header[3] == "M":
        assert millions == pytest.approx(float(header[2]), rel=0.01)
    elif header[3] == "B":
        # Two digits: as near as they can tell.
        assert millions / 1e3 == pytest.approx(float(header[2]), abs=0.05)
    if path in GENERATORS:
        # VAR's keys have no bias, arlab's have: D more in each block.
        extra = model.backbone.num_layers * model.backbone.width if path.stem.startswith(("var", "nfig")) else 0
        assert size(model) == COMPUTED[path.stem] + extra
        assert size(model) == pytest.approx(COMPUTED[path.stem], rel=0.01)


def test_the_formulas_give_what_is_published_of_other_sizes() -> None:
    """XL of both: 36 blocks of width 1280."""
    assert llamagen(1280, 36) / 1e6 == pytest.approx(775, rel=0.002)
    assert llamagen(1280, 36, ways=2) / 1e6 == pytest.approx(816, rel=0.002)


@pytest.mark.parametrize("path", GENERATORS, ids=lambda path: path.stem)
def test_steps_and_batch_are_the_epochs_of_the_header(path: Path) -> None:
    tree = recipe(path)
    line = re.search(r"(\d+) epochs are ([\d,]+) steps of ([\d,]+) images, (\d+) on each of 8", path.read_text())
    assert line is not None
    epochs, steps, batch, share = (int(number.replace(",", "")) for number in line.groups())
    assert tree["trainer"]["max_steps"] == steps == round(epochs * IMAGES / batch)
    assert tree["data"]["init_args"]["batch_size"] == share == batch // 8


@pytest.mark.parametrize(
    "path", [path for path in GENERATORS if path.stem.startswith("var")], ids=lambda path: path.stem
)
def test_var_scales_with_depth(path: Path) -> None:
    model = built(path)
    assert isinstance(model, Generator)
    depth, backbone = int(path.stem.removeprefix("var_d")), model.backbone
    assert (backbone.width, backbone.num_layers, backbone.attention.num_heads) == (64 * depth, depth, depth)
    assert backbone.drop_path == pytest.approx(0.1 * depth / 24, abs=5e-5)
    batch = 8 * recipe(path)["data"]["init_args"]["batch_size"]
    assert model.optimizer.learning_rate == pytest.approx((1e-4 if depth < 24 else 8e-5) * batch / 256)


def test_the_table_of_the_docs_is_computed() -> None:
    rows = re.findall(r"^\| `\w+` \|.*", (ROOT / "docs/recipes.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(map(row, GENERATORS))
