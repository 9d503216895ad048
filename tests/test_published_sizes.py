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


def rar(width: int, layers: int) -> int:
    """Parameters of the released RAR with 16 heads.

    A block: attention 4 D², the MLP 8 D², of the condition to six vectors 6 D², with biases of 4, 5 and 6 D; two norms
    of 2 D, two of the width of a head. Around them a table of 1,024 codes, a mask, 1,000 classes and 'no class', a
    start, places and targets with 1,024 and steps with 100 rows to spare; the condition to two vectors; the output.
    """
    block = 18 * width**2 + 19 * width + 4 * width // 16
    tables = (1024 + 1 + CLASSES + 1) + 1 + 2 * (256 + 1024) + (256 + 100)
    return layers * block + tables * width + 2 * width**2 + 2 * width + 1024 * (width + 1)


def flowar(width: int, layers: int, flow_width: int, flow_layers: int, *, cross: bool = False) -> int:
    """Parameters of the released FlowAR: S, or with cross-attention in the flow network L and H.

    A block, of the backbone as of the flow network: attention 4 D², a gated MLP 3 D F with F = 8 D / 3, six vectors
    6 D², with biases of D, 2 F + D and 6 D, and 3 D of queries, keys and values in the backbone. Around them three
    tables of 341 places, 1,001 classes, 16 numbers to D, D to D between the stages, three norms; in front of and behind
    the flow's blocks 16 numbers to W, 256 waves of the time to W to W, D to W, the condition to two vectors, W to 16.
    Cross-attention: queries and output 2 W², keys and values 2 D W, a bias, norms of W and D.
    """

    def block(width: int) -> int:
        hidden = 8 * width // 3
        return 10 * width**2 + 3 * width * hidden + 2 * hidden + 8 * width

    backbone = layers * (block(width) + 3 * width) + (3 * 341 + CLASSES + 1 + 17 + 3) * width + width**2 + width
    around = 17 + 257 + (flow_width + 1) + (width + 1) + 2 * (flow_width + 1) + 16
    attends = 2 * flow_width**2 + 2 * width * flow_width + 2 * flow_width + width if cross else 0
    return backbone + flow_layers * (block(flow_width) + attends) + around * flow_width + 16


def xar(width: int, layers: int) -> int:
    """Parameters of the released xAR with so many blocks in both stages together.

    A block: attention 4 D², a gated MLP 3 D F with F = 8 D / 3, six vectors 6 D², with biases of 4, 1 and 6 D and 2 F.
    Around them 1,001 classes, 256 waves of the time to D to D, 16 numbers to D and back, D to D between the stages, two
    tables of 256 places, three norms.
    """
    hidden = 8 * width // 3
    block = 10 * width**2 + 3 * width * hidden + 11 * width + 2 * hidden
    around = (CLASSES + 1) + (257 + width + 1) + 17 + 16 + (width + 1) + 2 * 256 + 3
    return layers * block + around * width + 16


def mar(width: int, layers: int, inner: int, blocks: int) -> int:
    """Parameters of the released MAR with so many blocks in both stages together, and a head of so many blocks.

    A block: attention 4 D², the MLP 8 D², with biases of 4 and 5 D, two norms of 2 D. Around them 16 numbers to D, D
    to D between the stages, a mask, 1,000 classes and 'no class', tables of 64 + 256 places for the stages and of 256
    for what leaves, three norms. The head: 256 waves of the time to W to W, D to W, 16 numbers to W; its blocks 5 W²
    and 7 W, a norm of 2 W; the condition to two vectors, and W to 32.
    """
    trunk = layers * (12 * width**2 + 13 * width)
    around = 17 + (width + 1) + 1 + (CLASSES + 1) + 2 * (64 + 256) + 256 + 6
    head = (257 + inner + 1) + (width + 1) + 17 + blocks * (5 * inner + 7) + 2 * (inner + 1) + 32
    return trunk + around * width + head * inner + 32


COMPUTED = {
    "mar_b": mar(768, 24, 1024, 6),
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
    "xar_b": xar(768, 16),
    "flowar_s": flowar(768, 12, 1024, 2),
    "flowar_l": flowar(1024, 16, 1024, 12, cross=True),
    "rar_b": rar(768, 24),
    # One instruction; two and two regions, all but one with a vector that asks for its second token.
    "randar_l": llamagen(1024, 24) + 1024,
    "par_xl_4x": llamagen(1280, 36) + 3 * 1280,
}
EXTRA = {
    # Places of condition slots for what leaves, which nothing reads.
    "mar_b": 64 * 768,
    # A place of the condition slot that stands on none, in each of three tables.
    "flowar_s": 3 * 768,
    "flowar_l": 3 * 1024,
    # No rows to spare, no mask; but the last norm has weights. Places are of tokens and condition, steps of all.
    "rar_b": (256 + 1 + 256 + 257 - 2 * (256 + 1024) - (256 + 100) - 1 + 2) * 768,
    # Instructions add a vector that does not turn.
    "randar_l": 1024,
}
"""What arlab has beside the released parameters."""


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
        keys = model.backbone.num_layers * model.backbone.width if path.stem.startswith(("var", "nfig")) else 0
        extra = EXTRA.get(path.stem, keys)
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
