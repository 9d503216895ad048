"""A discriminator trains beside a tokenizer: counted once, at its time, and kept apart.

Letters: B batch, C channels, D output channels, H and W image sides.
"""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import Tensor

from arlab.callbacks.finite import FiniteLoss
from arlab.data.digits import Digits
from arlab.tokenizers.adversarial import Adversarial, adaptive_weight, feature_matching
from arlab.tokenizers.discriminator import Discriminator, GroupNorm, PatchDiscriminator
from tests.tokenizers.adversarial_runs import fit, game, opposing, same, state, tiny


class Batches(L.Callback):
    """Counts batches."""

    seen = 0

    def on_train_batch_end(self, *given: object) -> None:
        self.seen += 1


# ---- counted once


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_counts_once(tmp_path: Path, accumulate: int) -> None:
    tokenizer, batches = tiny(game(start_step=0, lead_steps=0)), Batches()
    trainer = fit(tokenizer, tmp_path, 8, callbacks=[batches], accumulate_grad_batches=accumulate)
    assert tokenizer.adversarial is not None
    opponent = tokenizer.adversarial.opponent
    assert (trainer.global_step, opponent.steps, batches.seen) == (8, 8, 8 * accumulate)
    assert opponent._optimizer is not None
    for optimizer in (trainer.optimizers[0], opponent._optimizer):
        assert {int(held["step"]) for held in optimizer.state_dict()["state"].values()} == {8}


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    image_BCHW, fake_BCHW = torch.randn(6, 1, 8, 8), torch.randn(6, 1, 8, 8)

    def gradients(*parts: slice) -> list[Tensor]:
        torch.manual_seed(0)
        each_alone = PatchDiscriminator(channels=8, num_layers=1, norm=GroupNorm(num_groups=2))
        adversarial = Adversarial(discriminator=each_alone)
        adversarial.bind(1, (8, 8))
        adversarial.create()
        for part in parts:
            adversarial.opponent.learn(image_BCHW[part], fake_BCHW[part], 1 / len(parts))
        return [weight.grad for weight in each_alone.parameters() if weight.grad is not None]

    whole, halves = gradients(slice(0, 6)), gradients(slice(0, 3), slice(3, 6))
    assert len(whole) == len(halves) > 0
    for one, other in zip(whole, halves, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_gradients_of_the_discriminator_are_clipped_too(tmp_path: Path) -> None:
    adversarial, norms = game(), []

    class Look(L.Callback):
        def on_train_start(self, *given: object) -> None:
            optimizer = adversarial.opponent._optimizer
            assert optimizer is not None
            weights = list(adversarial.discriminator.parameters())
            norms.clear()
            optimizer.register_step_pre_hook(
                lambda *given: norms.append(float(torch.stack([w.grad.norm() for w in weights]).norm()))
            )

    fit(tiny(adversarial), tmp_path, 4, callbacks=[Look()])
    assert min(norms) > 1e-3
    fit(tiny(adversarial), tmp_path, 4, callbacks=[Look()], gradient_clip_val=1e-3)
    assert norms == pytest.approx([1e-3] * 4, rel=1e-3)


# ---- at its time


def test_nothing_happens_before_it_is_time(tmp_path: Path) -> None:
    tokenizer = tiny(game(start_step=7, lead_steps=3))
    before = opposing(tokenizer)
    with pytest.warns(UserWarning, match="adversarial.start_step: 7 is not reached in 4 steps"):
        trainer = fit(tokenizer, tmp_path, 4)
    assert same(opposing(tokenizer), before)
    logged = {name for name in trainer.logged_metrics if name.startswith("train/")}
    assert logged == {"train/loss", "train/reconstruction", "train/usage", "train/revived"}


def test_while_it_leads_the_tokenizer_trains_as_it_would_alone(tmp_path: Path) -> None:
    alone, led, heard = tiny(None), tiny(game(start_step=6, lead_steps=5)), tiny(game(start_step=5, lead_steps=4))
    before = opposing(led)
    for tokenizer in (alone, led, heard):
        trainer = fit(tokenizer, tmp_path, 6)
    assert not same(opposing(led), before)
    assert same(state(led), state(alone))
    assert not same(state(heard), state(alone))
    figures = {f"train/{name}" for name in ("adversarial", "discriminator", "logits_real", "logits_fake")}
    assert figures | {"train/adaptive_weight"} <= set(trainer.logged_metrics)
    assert heard.adversarial is not None
    assert heard.adversarial.opponent.steps == 5


def test_the_loss_is_made_of_what_is_logged(tmp_path: Path) -> None:
    tokenizer = tiny(game(0, 0, weight=0.3))
    logged = fit(tokenizer, tmp_path, 1).logged_metrics
    quantizer = logged["train/loss"] - logged["train/reconstruction"]
    quantizer -= 0.3 * logged["train/adaptive_weight"] * logged["train/adversarial"]
    reference = fit(tiny(None), tmp_path, 1).logged_metrics["train/loss"] - logged["train/reconstruction"]
    assert float(quantizer) == pytest.approx(float(reference), rel=1e-3)


def test_validation_leaves_it_out(tmp_path: Path) -> None:
    alone, opposed = tiny(None), tiny(game())
    fit(opposed, tmp_path, 3)
    alone.load_state_dict(opposed.state_dict())
    data, trainer = Digits(batch_size=100), L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    assert trainer.validate(opposed, data, verbose=False) == trainer.validate(alone, data, verbose=False)


# ---- kept apart


def test_it_has_no_weights_before_a_run(tmp_path: Path) -> None:
    adversarial = game()
    tokenizer = tiny(adversarial)
    assert not [*adversarial.discriminator.parameters(), *adversarial.discriminator.buffers()]
    fit(tokenizer, tmp_path, 1)
    weights = list(adversarial.discriminator.parameters())
    assert weights
    assert not any(weight.is_meta for weight in weights)
    fit(tokenizer, tmp_path, 1)
    assert all(one is other for one, other in zip(weights, adversarial.discriminator.parameters(), strict=True))


def test_its_weights_are_drawn_where_they_would_have_been_at_once(tmp_path: Path) -> None:
    """After the tokenizer's, whatever is drawn before the run begins; and what is drawn then stays what it is."""
    tiny(None)
    at_once = PatchDiscriminator(channels=8, num_layers=1)
    at_once.bind(1, (8, 8))
    tokenizer, begun = tiny(game()), []

    class Look(L.Callback):
        def on_fit_start(self, *given: object) -> None:
            begun.append(torch.get_rng_state())

        def on_train_start(self, *given: object) -> None:
            begun.extend((torch.get_rng_state(), opposing(tokenizer)))

    torch.rand(5)
    fit(tokenizer, tmp_path, 1, callbacks=[Look()])
    before, after, weights = begun
    assert torch.equal(before, after)
    assert same(weights, dict(at_once.state_dict()))


def test_gradients_stay_on_their_side() -> None:
    tokenizer = tiny(game(0, 0))
    adversarial = tokenizer.adversarial
    assert adversarial is not None
    adversarial.create()
    image_BCHW = torch.rand(4, 1, 8, 8) * 2 - 1
    reconstruction_BCHW = tokenizer.autoencoder.decode(tokenizer._quantized(image_BCHW).vectors)
    distance = (reconstruction_BCHW - image_BCHW).abs().mean()
    turn = adversarial.play(image_BCHW, reconstruction_BCHW, distance, tokenizer.autoencoder.last_layer, step=0)
    assert all(weight.grad is None for weight in tokenizer.parameters())
    weights = list(adversarial.discriminator.parameters())
    learned = [weight.grad.clone() for weight in weights if weight.grad is not None]
    assert len(learned) == len(weights)
    assert all(float(grad.abs().max()) > 0 for grad in learned)
    turn.loss.backward()
    assert all(float(weight.grad.abs().max()) > 0 for weight in tokenizer.autoencoder.decoder[-1].parameters())
    assert all(torch.equal(weight.grad, grad) for weight, grad in zip(weights, learned, strict=True))
    assert all(weight.requires_grad for weight in weights)
    # A weight that is not to train stays so.
    weights[0].requires_grad_(False)
    adversarial.opponent.judge(reconstruction_BCHW)
    assert not weights[0].requires_grad


def test_it_is_no_part_of_the_model() -> None:
    tokenizer = tiny(game())
    alone = tiny(None)
    assert same(state(tokenizer), state(alone))  # nor do its weights disturb the random numbers of others
    after = torch.rand(3)
    tiny(None)
    assert torch.equal(after, torch.rand(3))
    assert copy.deepcopy(tokenizer).adversarial is tokenizer.adversarial


def test_the_adaptive_weight_by_hand() -> None:
    """A linear decoder x̂ = W z with mean (x̂ - x)² and generator loss -mean (v · x̂)."""
    z_BC, x_BD, v_D = torch.randn(5, 3), torch.randn(5, 4), torch.randn(4)
    weight_DC = torch.randn(4, 3, requires_grad=True)
    made_BD = z_BC @ weight_DC.T
    distance, loss = (made_BD - x_BD).square().mean(), -(made_BD * v_D).sum(1).mean()
    toward_image = 2 * (made_BD - x_BD).T.detach() @ z_BC / 20
    toward_real = -torch.outer(v_D, z_BC.mean(0))
    expected = toward_image.norm() / (toward_real.norm() + 1e-4)
    given = adaptive_weight(distance, loss, weight_DC)
    torch.testing.assert_close(given, expected)
    assert not given.requires_grad
    assert weight_DC.grad is None
    vanishing = adaptive_weight(1e-3 * distance, 1e-12 * loss, weight_DC)
    torch.testing.assert_close(vanishing, 1e-3 * toward_image.norm() / 1e-4, rtol=1e-4, atol=0)
    assert float(adaptive_weight(1e6 * distance, loss, weight_DC)) == 1e4
    (distance + given * loss).backward()
    torch.testing.assert_close(weight_DC.grad, toward_image + expected * toward_real)


# ---- feature matching


def test_feature_matching_by_hand() -> None:
    real = [torch.tensor([[1.0, -3.0]]), torch.tensor([[10.0], [30.0]])]
    fake = [torch.tensor([[2.0, -3.0]]), torch.tensor([[10.0], [20.0]])]
    by_hand = (0.5 / (2 + 1e-4) + 5 / (20 + 1e-4)) / 2
    assert float(feature_matching(real, fake)) == pytest.approx(by_hand)
    # However large a layer's features are, it counts the same.
    torch.testing.assert_close(
        feature_matching([1e3 * x for x in real], [1e3 * x for x in fake]), torch.tensor(by_hand), rtol=1e-3, atol=0
    )
    assert float(feature_matching([torch.zeros(2)], [torch.zeros(2)])) == 0


@pytest.mark.parametrize("adaptive", [True, False])
def test_without_a_weight_features_are_not_compared(
    tmp_path: Path, adaptive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit-equal to logits from the forward pass and nothing else."""
    plain, weightless = tiny(game(0, 0, adaptive=adaptive)), tiny(game(0, 0, adaptive=adaptive, matching_weight=0.0))
    logged = fit(weightless, tmp_path, 4).logged_metrics
    monkeypatch.setattr(PatchDiscriminator, "features", Discriminator.features)
    before = fit(plain, tmp_path, 4).logged_metrics
    assert logged == before
    assert "train/feature_matching" not in logged
    assert same(state(plain), state(weightless))
    assert same(opposing(plain), opposing(weightless))


def test_matching_adds_its_weight_beside_the_adaptive_one(tmp_path: Path) -> None:
    logged = fit(tiny(game(0, 0, weight=0.3, matching_weight=2.0)), tmp_path, 1).logged_metrics
    plain = fit(tiny(game(0, 0, weight=0.3)), tmp_path, 1).logged_metrics
    assert 0 < float(logged["train/feature_matching"]) < 3
    assert float(logged["train/adaptive_weight"]) == float(plain["train/adaptive_weight"])
    added = float(logged["train/loss"] - plain["train/loss"])
    assert added == pytest.approx(2 * float(logged["train/feature_matching"]), rel=1e-4)


def test_matching_draws_a_reconstruction_to_its_own_image() -> None:
    torch.manual_seed(0)
    adversarial = game(0, 0, weight=0.0, adaptive=False, matching_weight=1.0)
    adversarial.bind(1, (8, 8))
    adversarial.create()
    image_BCHW = torch.rand(4, 1, 8, 8) * 2 - 1
    made_BCHW = torch.randn(4, 1, 8, 8, requires_grad=True)

    def matching(fake_BCHW: Tensor) -> Tensor:
        turn = adversarial.play(image_BCHW, fake_BCHW, fake_BCHW.sum(), made_BCHW, step=0)
        # Of what it has learned from them just now.
        for weight in adversarial.discriminator.parameters():
            weight.grad = None
        return turn.loss

    assert matching(image_BCHW.clone()).item() == 0
    before = matching(made_BCHW)
    before.backward()
    assert made_BCHW.grad is not None
    assert float(made_BCHW.grad.abs().max()) > 0
    assert all(weight.grad is None and weight.requires_grad for weight in adversarial.discriminator.parameters())
    # It is a distance of each to its own; and BatchNorm hides no loss of contrast.
    assert matching(image_BCHW.flip(0)).item() > 0.1
    assert matching(image_BCHW / 2).item() > 0.1
    made_BCHW.data -= 0.1 * made_BCHW.grad / made_BCHW.grad.abs().max()
    assert matching(made_BCHW).item() < before.item()


class _Blackbox(PatchDiscriminator):
    """Gives logits only."""

    features = Discriminator.features


def test_matching_without_features_is_refused() -> None:
    def build(weight: float) -> None:
        tiny(Adversarial(discriminator=_Blackbox(channels=8, num_layers=1), matching_weight=weight))

    build(0.0)
    message = "adversarial.matching_weight: _Blackbox tells no features to match; .* or choose 0, got 0.5"
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(0.5)


# ---- mishaps


class Spoil(L.Callback):
    def __init__(self, adversarial: Adversarial, step: int) -> None:
        self.adversarial, self.step = adversarial, step

    def on_train_batch_start(self, trainer: L.Trainer, *rest: object) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                next(self.adversarial.discriminator.parameters()).fill_(torch.nan)


def test_a_discriminator_that_fails_stops_the_run(tmp_path: Path) -> None:
    adversarial = game(start_step=6, lead_steps=6)
    found = "train/discriminator is nan at step 2: images and weights are finite, so it arose inside the model or in"
    with pytest.raises(ValueError, match=f"^{found} what trains beside it; the batch is in"):
        fit(tiny(adversarial), tmp_path, 4, callbacks=[Spoil(adversarial, 2), FiniteLoss()])
    with pytest.raises(ValueError, match=r"^weights of the discriminator are not finite and were not saved: layers\.0"):
        adversarial.opponent.save({})


def test_bf16_mixed_trains(tmp_path: Path) -> None:
    logged = fit(tiny(game(0, 0, matching_weight=0.1)), tmp_path, 4, precision="bf16-mixed").logged_metrics
    assert all(math.isfinite(value) for value in logged.values())
    assert float(logged["train/adaptive_weight"]) > 0
    assert float(logged["train/feature_matching"]) > 0


@pytest.mark.parametrize("precision", ["16-mixed", "16-true"])
def test_scaled_losses_are_refused(precision: str) -> None:
    trainer = SimpleNamespace(precision=precision)
    with pytest.raises(ValueError, match=f"^trainer.precision: {precision} .* choose 32-true or bf16-mixed$"):
        tiny(game()).adversarial.begin(trainer, torch.zeros(1))  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Adversarial(weight=-1.0), "adversarial.weight: must be at least 0, got -1.0"),
        (lambda: Adversarial(weight=math.nan), "adversarial.weight: must be at least 0, got nan"),
        (
            lambda: Adversarial(matching_weight=-1.0),
            "adversarial.matching_weight: must be at least 0, got -1.0",
        ),
        (
            lambda: Adversarial(matching_weight=math.inf),
            "adversarial.matching_weight: must be at least 0, got inf",
        ),
        (lambda: Adversarial(start_step=-1), "adversarial.start_step: must be at least 0, got -1"),
        (
            lambda: Adversarial(start_step=3, lead_steps=4),
            "adversarial.lead_steps: must be in [0, start_step = 3], got 4",
        ),
        (
            lambda: tiny(Adversarial()),
            "discriminator.num_layers: 3 leave nothing of an image of (8, 8); choose at most 1",
        ),
    ],
)
def test_impossible_options_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()
