"""The perceptual loss trains a tokenizer and belongs to it in no other way."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import lightning as L
import pytest
import torch

from arlab.configurable import from_spec
from arlab.data.digits import Digits
from arlab.data.fashion_mnist import FashionMNIST
from arlab.features.classifier import EmojiClassifier, FashionClassifier, SavedClassifier, shipped
from arlab.features.lpips import LPIPS
from arlab.runs.checkpoint import read, rebuild
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.losses import L1, Mix, ReconstructionLoss
from arlab.tokenizers.perceptual import Perceptual
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.tiny_runs import save_run


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def tokenizer(reconstruction: ReconstructionLoss) -> VQTokenizer:
    torch.manual_seed(0)
    return VQTokenizer(
        facts=Digits().facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4),
        quantizer=VectorQuantizer(codebook_size=16),
        token_width=4,
        reconstruction=reconstruction,
    )


def test_it_is_the_mean_distance_of_the_images() -> None:
    a, b = images(3, 1, 12, 12), images(3, 1, 12, 12, seed=1)
    assert torch.equal(Perceptual()(a, b), FashionClassifier().distance(a, b).mean())
    assert Perceptual()(a, a).item() == 0
    assert Perceptual()(a, b) > 0
    mixed = Mix(losses=[L1(), Perceptual()], weights=[1.0, 0.1])(a, b)
    torch.testing.assert_close(mixed, L1()(a, b) + 0.1 * Perceptual()(a, b))


def test_the_network_goes_by_channels_unless_it_is_named() -> None:
    gray, colour = images(2, 1, 12, 12), images(2, 3, 12, 12)
    for image, network in ((gray, FashionClassifier()), (colour, EmojiClassifier())):
        torch.testing.assert_close(Perceptual()(image, -image), network.distance(image, -image).mean())
    assert Perceptual(network=EmojiClassifier())(gray, -gray) > 0
    with pytest.raises(ValueError, match="fashion_classifier: takes images of 1 channels, got 3"):
        Perceptual(network=FashionClassifier())(colour, colour)


def test_gradients_reach_the_reconstruction_and_not_the_network() -> None:
    loss = Perceptual(network=FashionClassifier())
    assert loss.network is not None
    reconstruction = images(2, 1, 12, 12).requires_grad_()
    loss(reconstruction, images(2, 1, 12, 12, seed=1)).backward()
    assert reconstruction.grad is not None
    assert (reconstruction.grad != 0).float().mean() > 0.9
    assert all(parameter.grad is None for parameter in loss.network.extractor.parameters())


def test_training_mode_changes_no_distance() -> None:
    loss, a, b = Perceptual(), images(2, 1, 12, 12), images(2, 1, 12, 12, seed=1)
    expected = loss.eval()(a, b)
    assert torch.equal(loss.train()(a, b), expected)
    assert not shipped(1).extractor.training


def test_under_autocast_it_is_as_good() -> None:
    loss, a, b = Perceptual(), images(2, 1, 28, 28), images(2, 1, 28, 28, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = loss(a, b)
    assert autocast.dtype == torch.float32
    torch.testing.assert_close(autocast, loss(a, b), rtol=0.05, atol=0.05)


def test_the_network_is_no_part_of_the_tokenizer() -> None:
    with_network, without = tokenizer(Mix(losses=[L1(), Perceptual(network=FashionClassifier())])), tokenizer(L1())
    loss = with_network.reconstruction(images(2, 1, 8, 8), images(2, 1, 8, 8, seed=1))
    assert loss > 0
    assert with_network.state_dict().keys() == without.state_dict().keys()
    names = {name for name, _ in with_network.named_parameters()}
    assert names == {name for name, _ in without.named_parameters()}
    twin = copy.deepcopy(with_network)
    assert twin.reconstruction.losses[1].network is with_network.reconstruction.losses[1].network
    sizes = []
    for model in (with_network, without):
        buffer = io.BytesIO()
        torch.save(model.state_dict(), buffer)
        sizes.append(len(buffer.getvalue()))
    assert abs(sizes[0] - sizes[1]) < 1000  # names of modules


def test_a_checkpoint_rebuilds_it(tmp_path: Path) -> None:
    model = tokenizer(Mix(losses=[L1(), Perceptual(network=EmojiClassifier())], weights=[1.0, 0.1])).eval()
    assert from_spec(model.spec(), VQTokenizer).spec() == model.spec()
    save_run(model, tmp_path)
    rebuilt = rebuild(read(tmp_path / "checkpoints" / "last.ckpt"), VQTokenizer)
    assert rebuilt.spec() == model.spec()
    a, b = images(2, 1, 8, 8), images(2, 1, 8, 8, seed=1)
    assert torch.equal(rebuilt.reconstruction(a, b), model.reconstruction(a, b))


def test_a_checkpoint_is_used_where_the_weights_of_the_network_are_missing(tmp_path: Path) -> None:
    model = tokenizer(Perceptual(network=SavedClassifier(file="nowhere.safetensors"))).eval()
    save_run(model, tmp_path)
    rebuilt = rebuild(read(tmp_path / "checkpoints" / "last.ckpt"), VQTokenizer)
    image = images(2, 1, 8, 8)
    assert torch.equal(rebuilt.encode(image), model.encode(image))
    with pytest.raises(ValueError, match=r"nowhere.safetensors: not a readable safetensors file"):
        rebuilt.reconstruction(image, image)


def test_it_trains(tmp_path: Path) -> None:
    model = tokenizer(Mix(losses=[L1(), Perceptual()], weights=[1.0, 0.5]))
    data = Digits(batch_size=100, validation_size=1100)
    options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options |= {"enable_checkpointing": False, "default_root_dir": tmp_path}
    before = L.Trainer(**options).validate(model, data, verbose=False)[0]["val/loss"]
    L.Trainer(max_steps=20, limit_val_batches=0, **options).fit(model, data)
    assert L.Trainer(**options).validate(model, data, verbose=False)[0]["val/loss"] < before


def test_the_spec_names_the_network() -> None:
    spec = Perceptual(network=FashionClassifier()).spec()
    network = {"class_path": "arlab.features.classifier.FashionClassifier", "init_args": {}}
    assert spec["init_args"] == {"network": network}
    assert Perceptual().spec()["init_args"] == {"network": None}
    assert "EmojiClassifier" in repr(Perceptual(network=EmojiClassifier()))


def test_missing_weights_are_told_before_a_run_begins() -> None:
    network = LPIPS(vgg="nowhere.pth")
    model = VQTokenizer(facts=FashionMNIST().facts, reconstruction=Perceptual(network=network))
    with pytest.raises(ValueError, match=r"LPIPS\.vgg: .*nowhere\.pth"):
        model.refuse_data(FashionMNIST())
