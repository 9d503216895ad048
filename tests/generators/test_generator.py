from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks.weight_averaging import WeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader

from arlab.configurable import from_spec
from arlab.conformance.toy import toy_generator
from arlab.data.data import Batch
from arlab.data.facts import DataFacts
from arlab.generators.averaging import average
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.optimization import AdamW, split_by_decay
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Layout
from arlab.rng import BatchRng, Rng
from arlab.runs import checkpoint as saving
from tests.conformance.test_laws import Rows
from tests.tiny import GrayLevels, tiny_backbone, tiny_generator

IMAGES = torch.tensor([[0, 1, 2, 2, 1, 0], [2, 2, 1, 0, 0, 1]])
LABELS = torch.tensor([0, 1])


def loader(generator: Generator, batches: int = 3) -> DataLoader[Batch]:
    batch = Batch(generator.tokenizer.decode(IMAGES), LABELS, torch.tensor([0, 1]))
    return DataLoader([batch] * batches, batch_size=None)


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


# ---- the frozen tokenizer


def test_the_tokenizer_is_no_part_of_the_generator() -> None:
    generator = tiny_generator()
    held = list(generator.tokenizer.module.parameters())
    assert held
    assert not any(parameter.requires_grad for parameter in held)
    assert not any("tokenizer" in name for name in generator.state_dict())
    assert not any("tokenizer" in name for name, _ in generator.named_modules())
    assert not {id(p) for p in held} & {id(p) for p in generator.parameters()}
    generator.train()
    assert not generator.tokenizer.module.training


def test_optimizer_and_average_leave_the_tokenizer_alone(tmp_path: Path) -> None:
    generator = tiny_generator(ema_decay=0.9)
    held = generator.tokenizer.module
    before = {name: value.clone() for name, value in held.state_dict().items()}
    fit = trainer(tmp_path, max_epochs=1)
    fit.fit(generator.train(), loader(generator))
    optimized = {id(p) for group in fit.optimizers[0].param_groups for p in group["params"]}
    assert optimized == {id(p) for p in generator.parameters()}
    (averaging,) = [callback for callback in fit.callbacks if isinstance(callback, WeightAveraging)]
    averaged = averaging._average_model
    assert averaged is not None
    assert not any("tokenizer" in name for name in averaged.state_dict())
    assert {name: value.tolist() for name, value in held.state_dict().items()} == {
        name: value.tolist() for name, value in before.items()
    }
    # The copy that is averaged shares the tokenizer.
    assert averaged.module.tokenizer is generator.tokenizer


def test_another_image_size_is_refused() -> None:
    facts = DataFacts("other", 1, (4, 4), ("a", "b"))
    with pytest.raises(ValueError, match=r"tokenizer: it and the data differ in image_size: \(2, 3\) against \(4, 4\)"):
        Generator(tokenizer=GrayLevels(), ordering=Raster(), backbone=tiny_backbone(), head=DiscreteHead(), facts=facts)


# ---- weight decay


def test_matrices_decay_and_nothing_else() -> None:
    generator = tiny_generator(Rows())
    names = {id(parameter): name for name, parameter in generator.named_parameters()}
    decayed, kept = ({names[id(p)] for p in group} for group in split_by_decay(generator))
    assert {"slot_embedding.learned_RD", "backbone.places.0.table", "backbone.norms.0.weight"} <= kept
    assert {"head.embedding.weight", "conditioner.embedding.weight", "head.outputs.0.weight"} <= decayed
    assert all("norm" in name or name.endswith((".table", "_RD", ".bias")) for name in kept)
    assert decayed | kept == set(names.values())
    groups = AdamW(weight_decay=0.3).build(generator, 10)["optimizer"].param_groups
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0]


# ---- specs and checkpoints


@pytest.mark.parametrize(
    "ordering", [Raster(), Rows(), Masked(set_sizes=CosineSizes(num_steps=2))], ids=lambda o: type(o).__name__
)
def test_a_spec_rebuilds_its_generator(ordering: Any) -> None:
    generator = tiny_generator(ordering)
    spec = generator.spec()
    again = from_spec(spec, Generator)
    assert again.spec() == spec
    assert again.facts == generator.facts
    shapes = {name: value.shape for name, value in generator.state_dict().items()}
    assert {name: value.shape for name, value in again.state_dict().items()} == shapes


def test_a_generator_built_in_python_survives_its_checkpoint() -> None:
    generator = tiny_generator()
    # Weights of the tokenizer that its constructor would not give.
    generator.tokenizer.module.values_V1.data += 0.25
    generator.tokenizer.module.used_V += torch.arange(3)
    checkpoint: dict[str, Any] = {"state_dict": generator.state_dict()}
    generator.on_save_checkpoint(checkpoint)
    file = io.BytesIO()
    torch.save(checkpoint, file)
    file.seek(0)
    again = saving.rebuild(torch.load(file, weights_only=True), Generator)
    assert not again.training
    assert torch.equal(again.log_prob(IMAGES, LABELS), generator.log_prob(IMAGES, LABELS))
    assert torch.equal(again.tokenizer.decode(IMAGES), generator.tokenizer.decode(IMAGES))
    assert torch.equal(again.tokenizer.module.used_V, torch.arange(3.0))


def test_weights_that_do_not_fit_are_refused() -> None:
    generator = tiny_generator()
    checkpoint: dict[str, Any] = {"state_dict": tiny_generator(codebook_size=4).state_dict()}
    generator.on_save_checkpoint(checkpoint)
    with pytest.raises(ValueError, match="weights do not fit"):
        saving.rebuild(checkpoint, Generator)


# ---- likelihood


def test_log_prob_is_a_probability_per_token() -> None:
    generator = tiny_generator()
    log_prob = generator.log_prob(IMAGES, LABELS)
    assert log_prob is not None
    assert log_prob.shape == (2, 6)
    assert (log_prob < 0).all()
    # Each token's conditional sums to one over its values, all others fixed.
    for token in range(6):
        images = IMAGES[:1].repeat(3, 1)
        images[:, token] = torch.arange(3)
        each = generator.log_prob(images, torch.zeros(3, dtype=torch.long))
        assert each is not None
        assert float(each[:, token].exp().sum()) == pytest.approx(1, abs=1e-5)
        assert torch.allclose(each[0, :token], each[2, :token], atol=1e-5)


def test_log_prob_lies_at_its_token() -> None:
    """Whatever the order of prediction: changing a token changes its own entry and those predicted after it."""
    generator = tiny_generator(NextNeighbor())
    changed = IMAGES.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 3
    before, after = generator.log_prob(IMAGES, LABELS), generator.log_prob(changed, LABELS)
    assert before is not None
    assert after is not None
    diagonal = torch.tensor([0, 1, 2, 1, 2, 3])
    differs = ((before - after).abs() > 1e-6).any(0)
    assert differs.tolist() == [(index == 4 or bool(diagonal[index] > diagonal[4])) for index in range(6)]


def test_no_likelihood_where_the_pass_does_not_factorise() -> None:
    assert tiny_generator(Masked()).log_prob(IMAGES, LABELS) is None


def test_validation_reports_nats(tmp_path: Path) -> None:
    generator = tiny_generator()
    log_prob = generator.log_prob(IMAGES, LABELS)
    assert log_prob is not None
    (figures,) = trainer(tmp_path).validate(generator, loader(generator), verbose=False)
    assert figures["val/nats_per_token"] == pytest.approx(float(-log_prob.mean()), rel=1e-5)
    assert figures["val/nats_per_image"] == pytest.approx(float(-log_prob.sum(1).mean()), rel=1e-5)
    assert figures["val/loss"] == figures["val/nats_per_token"]
    (figures,) = trainer(tmp_path).validate(tiny_generator(Masked()), loader(generator), verbose=False)
    assert set(figures) == {"val/loss", "val/nats_per_image_bound", "val/nats_per_token_bound"}


# ---- training


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_labels_are_dropped_at_their_rate(probability: float) -> None:
    conditioner = ClassLabel(drop_probability=probability)
    conditioner.bind(4, DataFacts("tiny", 1, (2, 2), ("a", "b")))
    label = torch.randint(2, (20_000,))
    dropped = conditioner.drop(label, BatchRng(0, len(label)))
    rate = float((dropped == 2).float().mean())
    assert abs(rate - probability) <= 5 * (probability * (1 - probability) / len(label)) ** 0.5
    assert torch.equal(dropped[dropped != 2], label[dropped != 2])
    assert torch.equal(conditioner.null(label), torch.full_like(label, 2))


def test_condition_slots_are_copies_of_the_class() -> None:
    conditioner = ClassLabel(num_slots=3)
    conditioner.bind(4, DataFacts("tiny", 1, (2, 2), ("a", "b")))
    condition = conditioner(torch.tensor([1, 0]))
    assert condition.slots.shape == (2, 3, 4)
    assert condition.prefix.length == 3
    assert torch.equal(condition.slots[:, 2], condition.vector)


def parameters(decay: float, weights: list[float]) -> Iterator[Tensor]:
    """The average after each update with these weights."""
    averaged, update = [torch.tensor([weights[0]]), torch.tensor([0])], average(decay)
    for count, weight in enumerate(weights[1:], start=1):
        update(averaged, [torch.tensor([weight]), torch.tensor([count])], torch.tensor(count))
        assert averaged[1].tolist() == [count], "whole numbers are copied, not averaged"
        yield averaged[0].clone()


def test_average_forgets_its_start() -> None:
    by_hand = 1.0
    for count, (weight, averaged) in enumerate(
        zip([2.0, 4.0, 8.0], parameters(0.9, [1.0, 2.0, 4.0, 8.0]), strict=True), start=1
    ):
        decay = min(0.9, (1 + count) / (10 + count))
        by_hand = decay * by_hand + (1 - decay) * weight
        assert float(averaged) == pytest.approx(by_hand)
    # Once the ramp is over it is the plain moving average.
    *_, before, last = parameters(0.5, [0.0] * 30 + [1.0])
    assert float(last - before) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="ema_decay"):
        tiny_generator(ema_decay=1.0)


def test_the_trainer_keeps_that_average(tmp_path: Path) -> None:
    generator = tiny_generator(ema_decay=0.9)
    name = "head.outputs.0.weight"
    seen: list[Tensor] = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *rest: Any) -> None:
            seen.append(module.get_parameter(name).detach().clone())

    fit = trainer(tmp_path, max_epochs=1, callbacks=[Watch()])
    fit.fit(generator.train(), loader(generator, batches=4))
    # It starts from the weights after the first step.
    expected, *rest = seen
    for count, weight in enumerate(rest, start=1):
        decay = min(0.9, (1 + count) / (10 + count))
        expected = decay * expected + (1 - decay) * weight
    (averaging,) = [callback for callback in fit.callbacks if isinstance(callback, WeightAveraging)]
    assert averaging._average_model is not None
    # At the end of training the average takes the place of the weights.
    torch.testing.assert_close(generator.get_parameter(name), expected)
    assert not torch.equal(expected, seen[-1])


@pytest.mark.parametrize("ordering", [Raster(), Rows()], ids=lambda ordering: type(ordering).__name__)
def test_one_tiny_batch_is_learned_by_heart(ordering: Any) -> None:
    generator = tiny_generator(ordering, drop_probability=0.0).train()
    optimizer = torch.optim.AdamW(generator.parameters(), lr=1e-2)
    for step in range(60):
        loss = generator.objective.loss(generator, IMAGES, LABELS, BatchRng(step, 2), generator.layout)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    log_prob = generator.eval().log_prob(IMAGES, LABELS)
    assert log_prob is not None
    assert float(-log_prob.mean()) < 0.02
    samples = Sampler(temperature=0).sample(generator, LABELS, seeds=[0, 1])
    assert torch.equal(samples.tokens, IMAGES)


def test_every_weight_takes_part() -> None:
    generator = tiny_generator(Rows(), num_slots=2).train()
    generator.objective.loss(generator, IMAGES, LABELS, BatchRng(0, 2), generator.layout).backward()
    idle = [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
    assert isinstance(generator.head.embedding, nn.Embedding)


def test_parts_of_an_accumulated_step_draw_different_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step number stands still while gradients accumulate; the batch number does not."""
    generator = tiny_generator()
    batch = Batch(torch.zeros(64, 1, 2, 3), torch.zeros(64, dtype=torch.long), torch.full((64,), -1))
    drawn: list[Tensor] = []

    def watch(label: Tensor, rng: Rng) -> Tensor:
        drawn.append(rng.uniform())
        return label

    monkeypatch.setattr(generator.conditioner, "drop", watch)
    monkeypatch.setattr(generator, "log", lambda *_, **__: None)
    for batch_idx in (0, 0, 1):
        generator.training_step(batch, batch_idx)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_class_without_effect_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conditioner\.num_slots"):
        Generator(
            tokenizer=GrayLevels(),
            ordering=Raster(),
            backbone=tiny_backbone(),
            head=DiscreteHead(),
            conditioner=ClassLabel(num_slots=0),
        )


def test_heads_that_tell_how_likely_are_named_for_the_tokens_there_are() -> None:
    with pytest.raises(ValueError, match=r"FlowHead does not tell .* choose GaussianMixtureHead, or sets"):
        toy_generator(Masked(choice=ConfidenceChoice()), Layout(((2, 3),)), head=FlowHead())
