"""Health: counts are those of a brute force, what is ill is told once with the right name, training does not change."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from arlab.callbacks.code_window import CodeWindow, Hits
from arlab.callbacks.codebook_health import CodebookHealth, _kl
from arlab.callbacks.symptoms import Contest, Notes, Symptom, of_codebook, of_discriminator, of_levels, of_perplexity
from arlab.cli.training import main
from arlab.data.digits import Digits
from arlab.optimization import AdamW
from arlab.orderings.step import Layout
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.adversarial import Adversarial
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.discriminator import PatchDiscriminator
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.cli.tiny_experiments import write_experiments
from tests.tiny import GrayLevels

PYRAMID = Layout(((1, 1), (2, 2), (4, 4)))


# ---- counting


@pytest.mark.parametrize("codes", [5, 40])
def test_counts_are_those_of_a_brute_force(codes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    window = CodeWindow(PYRAMID, codes, 7)
    batches: list[Tensor] = []
    for step in range(1, 24):
        # Codes come and go, batches differ in size.
        tokens_BN = torch.randint(step % 3, max(4, codes - step), (1 + step % 4, 21), generator=generator) % codes
        batches.append(tokens_BN)
        window.observe(tokens_BN)
        whole, levels = window.gather()
        recent = batches[-7:]
        assert whole.hit == len({int(token) for batch in recent for token in batch.flatten()})
        assert whole.vectors == sum(batch.numel() for batch in recent)
        for number, level in enumerate(levels):
            seen = [batch[:, PYRAMID.tokens(number)].flatten() for batch in recent]
            assert level.hit == len(set(torch.cat(seen).tolist()))
            assert level.dead == codes - level.hit
            assert level.vectors == len(torch.cat(seen))
            weighted = torch.zeros(codes, dtype=torch.float64)
            for age, batch in enumerate(reversed(batches)):
                ids = batch[:, PYRAMID.tokens(number)].flatten()
                weighted += torch.bincount(ids, minlength=codes) * (1 + 1 / 7) ** -age
            p = weighted / weighted.sum()
            assert level.perplexity == pytest.approx(float(torch.special.entr(p).sum().exp()), rel=1e-5)
    assert window.full


def test_a_step_reads_nothing_from_the_device() -> None:
    """Nothing can be read from the meta device, where tensors have no values."""
    window = CodeWindow(PYRAMID, 64, 3)
    for _ in range(8):
        window.observe(torch.zeros(2, 21, dtype=torch.int64, device="meta"))
    assert window.last_LV.device.type == window.recent_LV.device.type == "meta"


def test_expected_hits_are_those_of_chance() -> None:
    drawn = torch.randint(64, (4000, 50), generator=torch.Generator().manual_seed(0))
    distinct = torch.tensor([float(len(row.unique())) for row in drawn]).mean()
    assert Hits(64, 50, 0, 1.0).expected == pytest.approx(float(distinct), rel=0.01)
    assert Hits(64, 0, 0, 1.0).expected == 0
    assert Hits(2**18, 10**9, 0, 1.0).expected == pytest.approx(2**18)


# ---- conditions


def told(layout: Layout, codes: int, tokens: Iterator[Tensor], window: int = 20) -> list[str]:
    counted = CodeWindow(layout, codes, window)
    for tokens_BN in tokens:
        counted.observe(tokens_BN)
    whole, levels = counted.gather()
    found = [
        of_codebook("codebook usage", whole, window, min_usage=0.5),
        *of_levels(levels, window, min_information=0.1),
    ]
    return [symptom.condition for symptom in found if symptom.severity > 1]


def draws(kind: str, codes: int) -> Iterator[Tensor]:
    """Zipf-like tokens of a pyramid: most codes are rare, as they are in practice."""
    generator = torch.Generator().manual_seed(1)
    frequency_V = 1 / (5 + torch.arange(codes, dtype=torch.float32))
    for _ in range(20):
        tokens_BN = torch.multinomial(frequency_V.expand(4, -1), 21, replacement=True, generator=generator)
        if kind == "one level":
            tokens_BN[:, 1:5] = 3
        if kind == "all":
            tokens_BN[:] = torch.randint(2, (4, 21), generator=generator)
        yield tokens_BN


@pytest.mark.parametrize("codes", [4, 64, 1024, 4096])
@pytest.mark.parametrize(
    ("kind", "conditions"), [("none", []), ("one level", ["level 1"]), ("all", ["codebook usage"])]
)
def test_a_pyramid_with_few_vectors_on_its_first_level_is_healthy(kind: str, conditions: list[str], codes: int) -> None:
    """Level 0 sees 80 vectors in the window: of 4,096 codes it can hit 79 at most."""
    if kind == "all" and codes == 4:
        conditions = []  # half of the codes, and a bit per token, is not little
    assert told(PYRAMID, codes, draws(kind, codes)) == conditions


def test_it_is_told_once_until_it_recovers() -> None:
    notes = Notes()
    lines = [
        notes.take(step, [Symptom("x", s, f"x at {s}")]) for step, s in enumerate((0.5, 1.2, 3, 0.95, 1.1, 0.8, 2))
    ]
    assert lines == [[], ["x at 1.2"], [], [], [], ["x: recovered"], ["x at 2"]]
    assert [entry["step"] for entry in notes.told] == [1, 5, 6]
    assert notes.take(9, [Symptom("x", math.nan, "")]) == []


def test_perplexity_that_falls() -> None:
    assert of_perplexity(40.0, 100.0, max_fall=0.5).severity > 1
    assert of_perplexity(60.0, 100.0, max_fall=0.5).severity < 0.9
    assert of_perplexity(1.0, 1.0, max_fall=0.5).severity == 0


HEALTHY = [Contest(0.4, -0.3, 0.3, 0.8)] * 8
CONTESTS = {
    "healthy": (HEALTHY, []),
    "wins": ([Contest(3.0, -2.0 - step, 2.0 + step, 0.8) for step in range(8)], ["discriminator wins"]),
    "wide but no longer rising": ([Contest(3.0, -9.0, 9.0, 0.8)] * 8, []),
    "wide before it is heard": ([Contest(3.0, -9.0, None, None)] * 8, []),
    "blind": ([Contest(0.1, 0.1, -0.1, 0.8)] * 8, ["discriminator blind"]),
    "the wrong way round": ([Contest(-0.2, 0.3, -0.3, 0.8)] * 8, ["discriminator blind"]),
    "at the bound": ([Contest(0.4, -0.3, 0.3, 1e4)] * 8, ["adaptive weight"]),
    "at the bound once": ([*HEALTHY[1:], Contest(0.4, -0.3, 0.3, 1e4)], []),
    "not adaptive": ([Contest(0.4, -0.3, 0.3, None)] * 8, []),
}


@pytest.mark.parametrize("name", CONTESTS)
def test_a_discriminator(name: str) -> None:
    history, conditions = CONTESTS[name]
    symptoms = of_discriminator(history, max_gap=4.0, min_gap=0.01, max_weight=9e3)
    assert [symptom.condition for symptom in symptoms if symptom.severity > 1] == conditions


def test_nats_of_a_channel() -> None:
    generator = torch.Generator().manual_seed(0)
    mean_BNC = torch.randn(2, 5, 3, generator=generator)
    deviation_BNC = torch.rand(2, 5, 3, generator=generator) + 0.1
    normal = torch.distributions.Normal
    nats_BNC = torch.distributions.kl_divergence(normal(mean_BNC, deviation_BNC), normal(0.0, 1.0))
    torch.testing.assert_close(_kl(mean_BNC, deviation_BNC), nats_BNC.mean((0, 1)))


# ---- runs


class Says(L.Callback):
    """Logs figures in place of a discriminator that wins."""

    figures: ClassVar[dict[str, float]] = {"logits_real": 4.0, "logits_fake": -4.0, "adaptive_weight": 1.0}

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        # In the loss from step 11 on.
        figures = {**self.figures, "adversarial": float(trainer.global_step)}
        known = {name: value for name, value in figures.items() if trainer.global_step > 10 or "logits" in name}
        trainer.callback_metrics.update({f"train/{name}": torch.tensor(value) for name, value in known.items()})


class Kept(L.Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any) -> None:
        self.losses.append(float(outputs["loss"]))


def vq_tokenizer(revive_below: float = 0.3) -> VQTokenizer:
    torch.manual_seed(0)
    return VQTokenizer(
        facts=Digits().facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 1], res_blocks=0),
        quantizer=VectorQuantizer(codebook_size=64, decay=0.9, revive_below=revive_below),
        token_width=4,
    )


def collapsed() -> VQTokenizer:
    """Its codes lie far away from all latents, and are never revived."""
    tokenizer = vq_tokenizer(revive_below=0.0)
    quantizer = tokenizer.quantizer
    assert isinstance(quantizer, VectorQuantizer)
    quantizer.codebook += 100
    quantizer.total.copy_(quantizer.codebook)
    quantizer.step += 1
    return tokenizer


def run(tokenizer: LearnedTokenizer, folder: Path, *callbacks: L.Callback, steps: int = 40, every: int = 100) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        val_check_interval=every,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(tokenizer, Digits(batch_size=32))


def test_a_collapsed_run_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    health = CodebookHealth(window=16)
    run(collapsed(), tmp_path, health)
    (entry,) = json.loads((tmp_path / "health.json").read_text())
    assert entry == health.notes.told[0]
    assert (entry["step"], entry["condition"]) == (16, "codebook usage")
    said = re.search(r"codebook usage: (\d+)% of 64 codes were not hit in the last 16 batches", entry["text"])
    assert said is not None
    assert int(said[1]) > 90
    assert all(word in entry["text"] for word in ("Likely: ", "Try: revive_below 0.3", "reading-a-run.md#"))
    assert capsys.readouterr().out.count("step 16: codebook usage") == 1


def test_a_healthy_run_says_nothing_and_trains_as_without(tmp_path: Path) -> None:
    with_it, without = Kept(), Kept()
    health = CodebookHealth(window=16)
    states = []
    for callbacks in ((health, with_it), (without,)):
        run(vq_tokenizer(), tmp_path, *callbacks, every=10)
        states.append(torch.get_rng_state())
    assert health.notes.told == []
    assert not (tmp_path / "health.json").exists()
    assert with_it.losses == without.losses
    assert torch.equal(*states)


def test_a_discriminator_that_wins_is_told_in_a_run(tmp_path: Path) -> None:
    health, tokenizer = CodebookHealth(window=16, min_usage=0.0), vq_tokenizer()
    psnr = [20.0, 19.5, 18.0, 18.5, 19.5]
    tokenizer.psnr.compute = lambda: torch.tensor(psnr.pop(0))
    run(tokenizer, tmp_path, Says(), health, every=8)
    conditions = [(entry["step"], entry["condition"]) for entry in health.notes.told]
    # Heard from step 11 on: eight looks, every other step, later it is told. The last validation before was at step 8.
    assert conditions == [(24, "reconstruction"), (26, "discriminator wins"), (40, "reconstruction")]
    assert "val/psnr is 18.00 dB, 2.00 dB below" in str(health.notes.told[0]["text"])
    assert health.notes.told[-1]["text"] == "reconstruction: recovered"


def test_a_discriminator_that_does_not_learn_is_told_in_a_run(tmp_path: Path) -> None:
    frozen = AdamW(learning_rate=1e-9, weight_decay=0.0, warmup_steps=0, final_fraction=1.0)
    network = PatchDiscriminator(channels=16, num_layers=1)
    torch.manual_seed(0)
    tokenizer = VQTokenizer(
        facts=Digits().facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 1], res_blocks=0),
        quantizer=VectorQuantizer(codebook_size=16, revive_below=0.3),
        adversarial=Adversarial(discriminator=network, optimizer=frozen, start_step=12, lead_steps=4),
    )
    health = CodebookHealth(window=16, min_usage=0.0)
    run(tokenizer, tmp_path, health)
    (entry,) = health.notes.told
    assert entry["condition"] == "discriminator blind"
    # It begins at step 9 and is looked at after steps 10, 12, ..., eight times before anything is said.
    assert int(entry["step"]) >= 24


@pytest.mark.parametrize(
    ("scale", "limit", "condition"),
    [(1.0, {"min_kl": 30.0}, "posterior collapse"), (0.2, {"max_kl": 0.05}, "posterior explosion"), (0.2, {}, None)],
)
def test_a_posterior(scale: float, limit: dict[str, float], condition: str | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = ConvAutoencoder(channels=8, channel_multipliers=[1, 1], res_blocks=0)
    tokenizer = KLTokenizer(facts=Digits().facts, autoencoder=autoencoder, quantizer=KL(scale=scale), token_width=4)
    health = CodebookHealth(window=8, **limit)
    run(tokenizer, tmp_path, health, steps=10)
    assert [entry["condition"] for entry in health.notes.told] == ([] if condition is None else [condition])


@pytest.mark.parametrize("shared", [True, False])
def test_levels_of_a_pyramid_are_logged(shared: bool, tmp_path: Path) -> None:
    quantizer = PyramidQuantizer(
        pyramid=ScalePyramid(patch_nums=[1, 4]), quantizer=VectorQuantizer(codebook_size=16), share_codebook=shared
    )
    tokenizer = VQTokenizer(
        facts=Digits().facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 1], res_blocks=0),
        quantizer=quantizer,
        token_width=4,
    )
    figures: dict[str, float] = {}

    class Read(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            figures.update({name: float(value) for name, value in trainer.callback_metrics.items()})

    health = CodebookHealth(window=8)
    run(tokenizer, tmp_path, health, Read(), steps=10)
    dead = [figures[f"train/dead_codes_level_{level}"] for level in range(2)]
    assert dead == [16 * (1 - figures[f"train/window_usage_level_{level}"]) for level in range(2)]
    assert figures["train/dead_codes"] == sum(dead) if not shared else figures["train/dead_codes"] <= min(dead)
    assert figures["train/window_perplexity_level_1"] > 1
    usage = {entry["condition"] for entry in health.notes.told if "usage" in str(entry["condition"])}
    assert usage <= ({"codebook usage"} if shared else {"codebook usage, level 0", "codebook usage, level 1"})


def test_channels_sum_to_the_quantizers_own_figure(tmp_path: Path) -> None:
    """Whatever the scale of tokens."""
    tokenizer = KLTokenizer(
        facts=Digits().facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 1], res_blocks=0),
        quantizer=KL(scale=0.2),
        token_width=4,
    )
    figures: dict[str, float] = {}

    class Read(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            figures.update({name: float(value) for name, value in trainer.callback_metrics.items()})

    run(tokenizer, tmp_path, CodebookHealth(window=1), Read(), steps=3)
    per_image = figures["train/kl_channel"] * 4 * tokenizer.layout.num_tokens
    assert per_image == pytest.approx(figures["train/kl"], rel=1e-4)


def test_only_learned_tokenizers_have_it(tmp_path: Path) -> None:
    trainer = L.Trainer(default_root_dir=tmp_path, logger=False, accelerator="cpu", enable_progress_bar=False)
    with pytest.raises(ValueError, match=r"trainer\.callbacks: CodebookHealth needs a learned tokenizer, the model is"):
        CodebookHealth().setup(trainer, GrayLevels(), "fit")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window: must be from 1 to 1000000, got 0"),
        ({"min_usage": 1.1}, "min_usage: must be from 0 to 1, got 1.1"),
        ({"min_level_information": math.nan}, "min_level_information: must be from 0 to 1, got nan"),
        ({"max_perplexity_fall": 0.0}, "max_perplexity_fall: must be positive and at most 1, got 0.0"),
        ({"min_kl": -1.0}, "min_kl: must be at least 0, got -1.0"),
        ({"max_kl": math.inf}, "max_kl: must be positive, got inf"),
        ({"max_logit_gap": 0.0}, "max_logit_gap: must be positive, got 0.0"),
        ({"min_logit_gap": math.nan}, "min_logit_gap: must be at least 0, got nan"),
        ({"max_adaptive_weight": -1.0}, "max_adaptive_weight: must be positive, got -1.0"),
        ({"max_psnr_drop": math.nan}, "max_psnr_drop: must be positive, got nan"),
    ],
)
def test_a_number_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        CodebookHealth(**options)


# ---- as commands run it


class Figures(L.Callback):
    """Writes what was logged of health at each step into figures.json of the run."""

    def __init__(self) -> None:
        pass

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        path = Path(trainer.default_root_dir) / "figures.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        names = ("train/dead_codes", "train/revived_codes", "train/window_perplexity")
        found = {name: float(trainer.callback_metrics.get(name, -1)).hex() for name in names}
        path.write_text(json.dumps({**known, str(trainer.global_step): found}))


FIT = ["fit", "--config", "experiments/tiny/tokenizers/vq.yaml", "--trainer.logger", "false"]
FIT += ["--trainer.max_steps", "24", "--trainer.val_check_interval", "24", "--data.batch_size", "8"]
FIT += ["--trainer.limit_val_batches", "1", "--model.quantizer.codebook_size", "64"]
WATCHED = "{class_path: CodebookHealth, init_args: {window: 8, min_usage: 1.0, max_perplexity_fall: 0.001}}"


def read(root: str, name: str) -> Any:
    (found,) = Path(root).glob(f"**/{name}")
    return json.loads(found.read_text())


def test_a_resumed_run_logs_and_tells_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_experiments(tmp_path)
    figures = "{class_path: tests.callbacks.test_codebook_health.Figures}"
    stop = "{class_path: tests.cli.tiny_experiments.SignalAt, init_args: {step: 13}}"
    command = [*FIT, "--trainer.callbacks", f"[{WATCHED}, {figures}, {stop}]", "--run_root"]
    assert main([*command, "straight"]) == 0
    Path("stop").touch()
    assert main([*command, "stopped"]) == 130
    assert main([*command, "stopped"]) == 0
    straight, stopped = read("straight", "figures.json"), read("stopped", "figures.json")
    assert len({str(row) for row in straight.values()}) > 5
    # The first step after a stop has nothing of before in sight yet.
    assert [step for step in straight if straight[step] != stopped[step]] in ([], ["14"])
    told = read("straight", "health.json")
    assert any(entry["step"] > 14 for entry in told)
    assert read("stopped", "health.json") == told


def test_it_watches_tokenizers_unless_it_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_experiments(tmp_path)
    for root, callbacks in (("by itself", "[]"), ("configured", f"[{WATCHED}]")):
        words = ["--trainer.callbacks", callbacks, "--run_root", root, "--trainer.max_steps", "10"]
        assert main([*FIT, *words]) == 0
        (last,) = Path(root).glob("**/last.ckpt")
        state = torch.load(last, weights_only=True)["callbacks"]["CodebookHealth"]
        assert state["batches"] == 10
        assert len(state["codes"]["images"]) == (10 if root == "by itself" else 8)


# ---- several processes


def half(rank: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rank)
    return [torch.randint(20 * rank, 20 * rank + 25, (3, 21), generator=generator) for _ in range(6)]


def process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    window = CodeWindow(PYRAMID, 64, 4)
    for step, tokens_BN in enumerate(half(rank)):
        window.observe(tokens_BN)
        if step in (3, 5):
            whole, levels = window.gather()
    rows = [(hits.vectors, hits.hit, hits.perplexity) for hits in (whole, *levels)]
    Path(folder, f"{rank}.json").write_text(json.dumps(rows))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_count_as_one(tmp_path: Path) -> None:
    multiprocessing.spawn(process, (str(tmp_path),), nprocs=2)
    alone = CodeWindow(PYRAMID, 64, 4)
    for parts in zip(half(0), half(1), strict=True):
        alone.observe(torch.cat(parts))
    whole, levels = alone.gather()
    expected = [[hits.vectors, hits.hit, pytest.approx(hits.perplexity, rel=1e-5)] for hits in (whole, *levels)]
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected
