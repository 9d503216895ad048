"""LlamaGen and what was made of it, from recorded files to images, by the commands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import save_file

from arlab.cli.main import main
from tests.goldens import MissingGoldenError, golden

# All of 64 codes on 8 x 8 places; the tokenizer makes 4 x 4 pixels of each.
MODELS = {
    "llamagen": ("llamagenA_gpt_state", []),
    "nar": ("narA_gpt_state", ["way_layers=1"]),
    "par": ("parA_state", []),
    "randar": ("randarA_state", ["num_steps=20"]),
}


@pytest.mark.parametrize("family", MODELS)
def test_imported_it_draws_images(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded, settings = MODELS[family]
    try:
        for name, file in ((recorded, "gpt.safetensors"), ("llamagenA_vq_state", "vq.safetensors")):
            save_file(golden(name), file)
    except MissingGoldenError as missing:
        pytest.skip(str(missing))
    told = ["--family", family, "--set", "num_heads=4", "grid=[8,8]", *settings]
    assert main(["import", "gpt.safetensors", "vq.safetensors", *told, "--out", "run"]) == 0
    assert main(["sample", "run", "--num_images", "2", "--classes", "3", "--scale", "1", "--out", "two.png"]) == 0
    assert "2 images" in capsys.readouterr().out
    with Image.open("two.png") as image:
        assert min(image.size) >= 32
