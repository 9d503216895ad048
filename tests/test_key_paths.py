"""Keys in messages of constructors become those of the configuration, or stay what they are."""

from __future__ import annotations

import pytest

from arlab.configurable import from_spec
from arlab.discovery import discover
from arlab.key_paths import as_typed
from arlab.tokenizers.quantizers.quantizer import Quantizer

discover()
CODEBOOK = {"class_path": "arlab.tokenizers.quantizers.vq.VectorQuantizer", "init_args": {"codebook_size": 1}}
PYRAMID = {
    "class_path": "arlab.tokenizers.quantizers.pyramid_quantizer.PyramidQuantizer",
    "init_args": {"quantizer": CODEBOOK, "pyramid": None},
}
MIX = {
    "class_path": "arlab.tokenizers.losses.Mix",
    "init_args": {"losses": [{"class_path": "arlab.tokenizers.losses.L1"}], "weights": [1]},
}
MODEL = {
    "class_path": "arlab.tokenizers.vq_tokenizer.VQTokenizer",
    "init_args": {"quantizer": PYRAMID, "reconstruction": MIX, "adversarial": None},
}


@pytest.mark.parametrize(
    ("at", "spec", "said", "told"),
    [
        # A part's own option, under the name it has for itself.
        ("model", MODEL, "tokenizer.token_width: small", "model.token_width: small"),
        ("model.quantizer", PYRAMID, "quantizer.quantizer: no", "model.quantizer.quantizer: no"),
        ("model.quantizer", PYRAMID, "quantizer.commitment_weight: no", "model.quantizer.commitment_weight: no"),
        ("model.quantizer.quantizer", CODEBOOK, "quantizer.decay: no", "model.quantizer.quantizer.decay: no"),
        ("data.transforms[1]", MIX, "weights: no", "data.transforms[1].weights: no"),
        # Of a part below.
        ("model", MODEL, "quantizer: no", "model.quantizer: no"),
        ("model", MODEL, "quantizer.quantizer: no", "model.quantizer.quantizer: no"),
        ("model", MODEL, "quantizer.decay: no", "model.quantizer.quantizer.decay: no"),
        ("model", MODEL, "reconstruction.losses[0]: no", "model.reconstruction.losses[0]: no"),
        ("model", MODEL, "adversarial.discriminator.num_layers: no", "model.adversarial.discriminator.num_layers: no"),
        # Whole already, or nobody's.
        ("model", MODEL, "model.facts: no", "model.facts: no"),
        ("model", MODEL, "backbone.attention.num_heads: no", "backbone.attention.num_heads: no"),
        ("model", MODEL, "LPIPS.vgg: no", "LPIPS.vgg: no"),
        ("model", MODEL, "vgg16.pth: no", "vgg16.pth: no"),
        ("model", MODEL, "no such thing", "no such thing"),
    ],
)
def test_a_key_is_told_as_it_is_typed(at: str, spec: dict[str, object], said: str, told: str) -> None:
    assert as_typed(said, at, spec) == told


def test_parts_are_told_where_they_stand_and_alone_what_they_say() -> None:
    with pytest.raises(ValueError, match=r"^model\.quantizer\.quantizer\.codebook_size: "):
        from_spec(PYRAMID, Quantizer, "model.quantizer")
    with pytest.raises(ValueError, match=r"^quantizer\.codebook_size: "):
        from_spec(PYRAMID, Quantizer)
