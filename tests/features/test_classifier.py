"""The shipped feature network: what it reaches, and that it is always the same one."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import arlab.features.classifier as classifier
from arlab.data.digits import Digits
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.stream import Images
from arlab.features.classifier import (
    FeatureClassifier,
    agreement,
    fashion_classifier,
    load_classifier,
    save_classifier,
)
from arlab.features.train_classifier import augment, background, eight_bit, main, train
from arlab.metrics.generation import real_anchor

SHIPPED_HASH = "487cc65f3a8560d7c68903e3947f7bfdcaa4e1d0a9806ba62f7fbadc75934b4b"


@pytest.fixture(scope="module")
def shipped():
    return fashion_classifier()


def test_shipped_classifier_knows_the_real_test_images(shipped):
    test = FashionMNIST().parts.test
    read = shipped.read(test.pixel_NCHW)
    assert read.feature_BD.shape == (len(test), 64)
    assert agreement(read.logits_BK, test.label_N) >= 0.85


def test_agreement_counts_the_class_asked_for():
    logits = torch.tensor([[0.0, 2.0, 1.0], [5.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert agreement(logits, torch.tensor([1, 0, 2, 2])) == 0.75


def test_real_images_against_real_images_are_close(shipped):
    parts = FashionMNIST().parts
    anchor = real_anchor(shipped, parts.test, parts.validation, "test against validation")
    # Small against the features' total variance of about 70; coverage is nearly full.
    assert anchor.frechet < 1
    assert min(anchor.precision, anchor.recall) > 0.8


def test_hash_is_that_of_the_shipped_weights(shipped):
    assert shipped.weights_hash == fashion_classifier().weights_hash == SHIPPED_HASH


def test_hash_tells_weights_apart(shipped):
    other = fashion_classifier()
    other.project.bias[0] += 1e-3
    assert other.weights_hash != shipped.weights_hash
    assert other.double().weights_hash != shipped.double().float().weights_hash


def test_shipped_file_is_small_and_says_how_it_was_made():
    path = classifier.__file__.replace("classifier.py", "fashion_classifier.safetensors")
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
        size = sum(file.get_tensor(name).nbytes for name in file.keys())  # noqa: SIM118
    assert size < 1_000_000
    assert {"arlab_version", "data", "seed", "steps", "test_accuracy", "spec"} <= set(facts)


def test_features_do_not_depend_on_the_batch(shipped):
    pixels = FashionMNIST().parts.test.pixel_NCHW[:20]
    together, apart = shipped.read(pixels), shipped.read(pixels, batch_size=3)
    torch.testing.assert_close(together.feature_BD, apart.feature_BD, atol=1e-4, rtol=1e-4)


def test_images_must_be_8_bit_and_of_the_right_channels(shipped):
    with pytest.raises(ValueError, match=r"must be torch.uint8 in 0 .. 255, got torch.float32"):
        shipped(torch.zeros(2, 1, 28, 28))
    with pytest.raises(ValueError, match=r"must be \(B, 1, H, W\), got \(2, 3, 28, 28\)"):
        shipped(torch.zeros(2, 3, 28, 28, dtype=torch.uint8))


def test_a_network_in_training_mode_measures_nothing():
    with pytest.raises(ValueError, match="call eval"):
        FeatureClassifier().train().read(torch.zeros(2, 1, 28, 28, dtype=torch.uint8))


def test_save_and_load_round_trip_of_another_shape(tmp_path):
    torch.manual_seed(0)
    network = FeatureClassifier(name="rgb", channels=3, num_classes=4, widths=(4, 8), num_features=6).half().float()
    save_classifier(network, tmp_path / "rgb.safetensors", {"data": "none"})
    loaded = load_classifier(tmp_path / "rgb.safetensors")
    assert (loaded.name, loaded.num_features, loaded.training) == ("rgb", 6, False)
    assert loaded.weights_hash == network.weights_hash
    assert [entry.name for entry in tmp_path.iterdir()] == ["rgb.safetensors"]


def test_a_file_without_class_names_loads_as_before(tmp_path):
    network = FeatureClassifier(widths=(4,), num_features=6, num_classes=2)
    save_classifier(network, tmp_path / "new.safetensors", {})
    with safe_open(tmp_path / "new.safetensors", framework="pt") as file:
        spec = json.loads(file.metadata()["spec"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del spec["init_args"]["class_names"]  # as it was written before there were any
    save_file(weights, tmp_path / "old.safetensors", {"spec": json.dumps(spec)})
    assert load_classifier(tmp_path / "old.safetensors").class_names == ()


def test_there_are_as_many_names_as_classes(tmp_path):
    network = FeatureClassifier(widths=(4,), num_features=6, num_classes=2, class_names=("cat", "dog"))
    save_classifier(network, tmp_path / "pets.safetensors", {})
    assert load_classifier(tmp_path / "pets.safetensors").class_names == ("cat", "dog")
    with pytest.raises(ValueError, match="class_names: 3 classes, got 2 names"):
        FeatureClassifier(num_classes=3, class_names=("cat", "dog"))


def test_what_is_no_classifier_is_refused(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    for name in ("broken.safetensors", "missing.safetensors"):
        with pytest.raises(ValueError, match="not a readable safetensors file"):
            load_classifier(tmp_path / name)


def test_augmentation_mirrors_and_shifts_whole_images():
    image = torch.zeros(1, 2, 9, 11, dtype=torch.uint8)
    image[0, 0, 4, 5], image[0, 1, 4, 6] = 10, 20
    seen = set()
    for seed in range(300):
        out = augment(image, torch.Generator().manual_seed(seed))
        (y0, x0), (y1, x1) = (torch.nonzero(out[0, channel])[0].tolist() for channel in (0, 1))
        assert y0 == y1  # channels move together
        assert abs(x1 - x0) == 1  # and are mirrored together
        seen.add((y0 - 4, x0 - 5, x1 - x0))
    assert len(seen) == 5 * 5 * 2


def test_training_is_the_same_for_the_same_seed():
    images = FashionMNIST().parts.validation
    first, again = (train(images, steps=5, seed=1) for _ in range(2))
    assert first.weights_hash == again.weights_hash
    assert train(images, steps=5, seed=2).weights_hash != first.weights_hash


def test_script_writes_a_file_that_loads(tmp_path, capsys):
    out = tmp_path / "classifier.safetensors"
    with torch.random.fork_rng():
        main(["--out", str(out), "--steps", "2"])
    assert load_classifier(out).weights_hash in capsys.readouterr().out


def test_the_border_is_filled_with_the_background():
    dark = Images(torch.tensor([0, 0, 9], dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 4, 4), torch.zeros(3))
    assert background(dark) == 0
    assert background(Images(255 - dark.pixel_NCHW, dark.label_N)) == 255
    white = torch.full((5, 3, 8, 8), 255, dtype=torch.uint8)
    assert torch.equal(augment(white, torch.Generator().manual_seed(0), 255), white)


def test_images_of_any_data_module_are_read_as_8_bit():
    test = Digits().parts.test
    images = eight_bit(test, test)
    assert images.levels == 256
    assert torch.equal(images.pixel_NCHW[: len(test)], (test.pixel_NCHW * (255 / 16)).round().to(torch.uint8))
    assert torch.equal(images.label_N, test.label_N.repeat(2))
    fashion = FashionMNIST().parts.test
    assert torch.equal(eight_bit(fashion).pixel_NCHW, fashion.pixel_NCHW)


def test_a_classifier_of_other_images_is_trained_by_the_same_script(tmp_path, capsys):
    out = tmp_path / "digits.safetensors"
    options = ["--out", str(out), "--steps", "2"]
    with torch.random.fork_rng():
        main([*options, "--data", "Digits", "seed=1", "--widths", "4", "8"])
    network = load_classifier(out)
    assert (network.name, network.channels, network.classify.out_features) == ("digits", 1, 10)
    assert network.class_names == Digits().facts.class_names
    with pytest.raises(SystemExit, match="2"):
        main([*options, "--data", "Digts"])
    assert "no LoadedData is called 'Digts'" in capsys.readouterr().err
