"""The generator: one tokenizer, ordering, backbone, head and conditioner, trained together.

Letters: B batch, N tokens of an image, M tokens predicted, S slots, D width, C width of a token vector.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.callbacks.weight_averaging import WeightAveraging
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from arlab.backbones.attention import Mask
from arlab.backbones.backbone import Backbone
from arlab.backbones.cache import Cache
from arlab.backbones.modulation import Modulated
from arlab.data.data import Batch, Tokenized
from arlab.data.facts import DataFacts
from arlab.generators.averaging import average
from arlab.generators.conditioners import ClassLabel, Condition, Conditioner
from arlab.generators.feeding import Known, SlotEmbedding, gather, mask_for, scatter
from arlab.generators.frozen import FrozenTokenizer
from arlab.generators.initialisation import Initialisation
from arlab.generators.objective import Objective, TeacherForcing
from arlab.heads.head import Head, Hidden, Predict, Predicted
from arlab.module import Module
from arlab.optimization import AdamW
from arlab.orderings.ordering import Ordering, Prefix, Scored
from arlab.orderings.step import Kind, Layout, Slots, Step
from arlab.ranges import require
from arlab.rng import BatchRng, Rng, mix_seed
from arlab.runs.checkpoint import KEY
from arlab.tokenizers.identity import identity
from arlab.tokenizers.tokenizer import Encoded, Tokenizer

_CODES_AT_ONCE = 256


class Generator(Module):
    """Images -> tokens -> slots -> hidden vectors -> distributions over tokens, and back when sampling.

    Args:
        tokenizer: a tokenizer, or the run (a generator's, too), checkpoint or experiment file it comes from. It is
            frozen.
        ordering: which token is predicted when, from what.
        backbone: the network between slots and heads.
        head: the distribution over tokens.
        conditioner: how the class enters.
        objective: what is minimised; teacher forcing by default.
        optimizer: AdamW with warm-up and decay.
        ema_decay: decay of the average of the weights that samples and checkpoints use; 0 for none.
        facts: facts of the data; the tokenizer's where not given.
        seed: of the randomness in training (dropped labels, drawn orders), with the step number.
        initialisation: initial weights of the whole; null leaves them to the parts.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer | str,
        ordering: Ordering,
        backbone: Backbone,
        head: Head,
        conditioner: Conditioner | None = None,
        objective: Objective | None = None,
        optimizer: AdamW | None = None,
        ema_decay: float = 0.999,
        facts: DataFacts | None = None,
        seed: int = 0,
        initialisation: Initialisation | None = None,
    ) -> None:
        super().__init__()
        if isinstance(tokenizer, str):
            tokenizer = load_tokenizer(tokenizer)
        require("ema_decay", ema_decay, at_least=0, below=1)
        self.tokenizer = FrozenTokenizer.ordered(tokenizer, ordering)
        self.ordering = ordering
        self.backbone = backbone
        self.head = head
        self.conditioner = ClassLabel() if conditioner is None else conditioner
        self.objective = TeacherForcing() if objective is None else objective
        self.optimizer = AdamW() if optimizer is None else optimizer
        self.ema_decay = ema_decay
        self.facts = tokenizer.facts if facts is None else facts
        self.seed = seed
        self.initialisation = initialisation
        # The record must hold what the path was resolved to, and must not be a second way to reach its weights.
        self.remember("tokenizer", self.tokenizer)
        self.remember("facts", self.facts)
        self._still: Encoded | None = None
        self._num_steps = 0.0
        self._masks: WeakKeyDictionary[Slots, Mask] = WeakKeyDictionary()
        self._bind()
        if initialisation is not None:
            initialisation.apply(self)

    def _bind(self) -> None:
        # A tokenizer may come from other data, with other classes, but not with other pixels.
        its = dataclasses.replace(self.tokenizer.module.facts, class_names=self.facts.class_names)
        contradiction = its.contradiction(self.facts)
        if contradiction is not None:
            raise ValueError(f"tokenizer: it and the data differ in {contradiction}")
        width, ways = self.backbone.width, self.ordering.num_ways(self.layout)
        self.conditioner.bind(width, self.facts)
        self.head.bind(width, self.tokenizer.space, ways, carries=self.ordering.carries)
        if self.tokenizer.space.discrete:
            self.head.see_codebook(self._code_vectors)
        self._refuse_pair()
        if not self.backbone.modulates and not self.conditioner.num_slots:
            raise ValueError("conditioner.num_slots: with 0 and a backbone without modulation the class has no effect")
        if not self.backbone.modulates and self.ordering.modulated:
            raise ValueError(
                f"backbone: later steps of {type(self.ordering).__name__} see no condition slots and learn the class "
                "by modulation; choose e.g. modulation: AdaLN"
            )
        if self.ordering.draws_layouts:
            # Whoever cannot says so now, not when the first other layout is drawn.
            self.tokenizer.at(Layout(self.layout.shapes[:1]))
            if not self.backbone.any_layout:
                raise ValueError(
                    "backbone.places: know one layout, but the ordering draws others; choose ResizedPlaces"
                )
        if not self.backbone.modulates and Kind.NOISY in self.ordering.carries:
            raise ValueError("backbone: noised slots learn their time by modulation; choose e.g. modulation: AdaLN")
        self.backbone.bind(self.layout, self.conditioner.num_slots, ways)
        self.slot_embedding = SlotEmbedding(
            width=width,
            ordering=self.ordering,
            layout=self.layout,
            num_condition=self.conditioner.num_slots,
            token_width=self.tokenizer.space.width,
        )

    def _refuse_pair(self) -> None:
        ordering, head = type(self.ordering).__name__, type(self.head).__name__
        if self.ordering.chooses and not self.head.tells_probability:
            telling = "DiscreteHead" if self.tokenizer.space.discrete else "GaussianMixtureHead"
            raise ValueError(
                f"ordering: this {ordering} keeps the tokens that are likeliest, but {head} does not tell how likely "
                f"what it drew is; choose {telling}, or sets chosen at random"
            )
        if Kind.NOISY in self.ordering.carries and type(self.head).embed_time is Head.embed_time:
            raise ValueError(
                f"head: {ordering} feeds noised tokens, which {head} does not look at; choose FlowHead or "
                "DiffusionHead, or an ordering without noised slots, e.g. Raster"
            )
        self.backbone.refuse(self.ordering, self.layout)

    def _code_vectors(self, code_n: Tensor) -> Tensor:
        """The vectors of codes on each level, (n, L, C)."""
        # An image of nothing but one code tells them; some at a time, since images may have many tokens.
        images = code_n[:, None].expand(-1, self.layout.num_tokens).split(_CODES_AT_ONCE)
        return torch.cat([self.tokenizer.vectors(tokens)[:, list(self.layout.first)] for tokens in images])

    @property
    def layout(self) -> Layout:
        """Where the tokens lie."""
        return self.tokenizer.layout

    @property
    def trained(self) -> float:
        """The share of the training steps that are over; 1 outside of training."""
        if self._trainer is None or not self._trainer.training:
            return 1.0
        # Asked for in the first step: the trainer makes its loaders for it, and before it restores a run is too early.
        self._num_steps = self._num_steps or float(self._trainer.estimated_stepping_batches)
        return min(1.0, self.global_step / self._num_steps)

    # ---- one pass

    def run_pass(
        self,
        fed: Slots,
        known: Known,
        condition: Condition,
        mask: Mask,
        layout: Layout,
        modulated: Modulated | None = None,
        cache: Cache | None = None,
    ) -> tuple[Tensor, ...]:
        """A pass over these slots: one (B, S, D) tensor per way; the condition is worked out unless it was before."""
        tokenizer = self.tokenizer.at(layout)
        h_BSD, vector_BSD = self.slot_embedding(fed, known, condition, self.ordering, self.head, tokenizer)
        modulated = self.backbone.modulate(vector_BSD, fed) if modulated is None else modulated
        ways: tuple[Tensor, ...] = self.backbone(h_BSD, fed, mask, modulated, layout, cache)
        return ways

    def teacher_predict(
        self, step: Step, tokens: Tensor, condition: Condition, layout: Layout | None = None
    ) -> Predict:
        """Runs the teacher-forced pass when a head asks for it."""
        on = self.layout if layout is None else layout

        def predict(noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
            known = Known(tokens)
            if noisy is not None and time is not None:
                known = Known.with_noise(tokens, step.read.token, noisy, time)
            ways = self.run_pass(step.feed, known, condition, self._mask(step.feed, on), on)
            return Predicted(Hidden(ways, step.read, on))

        return predict

    def _mask(self, fed: Slots, layout: Layout) -> Mask:
        if fed not in self._masks:
            self._masks[fed] = mask_for(self.ordering, layout, fed, None)
        return self._masks[fed]

    # ---- training

    def refuse_tokens(self, made: Tokenized) -> None:
        other = self.ordering.draws_layouts or self.layout != self.tokenizer.module.layout
        if other and not self.tokenizer.splits:
            name = type(self.ordering).__name__
            raise ValueError(f"data: {name} asks for other levels than the cache holds, so it trains on images")
        own = identity(self.tokenizer.module)
        if made.sha256 != own:
            raise ValueError(
                f"data.folder: {made.place} is stale: its tokens were made by {made.tokenizer}, this generator's "
                f"tokenizer is {type(self.tokenizer.module).__name__} {own[:8]}; make a cache with that one: "
                "arlab cache RUN --out FOLDER"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # Within an accumulated step the batch number tells the parts of it apart.
        rng = BatchRng(mix_seed(self.seed, self.global_step, batch_idx, self.global_rank), len(batch.label))
        layout = self._layout(batch_idx)
        own = self._drawn(self._encoded(batch, self._still, layout), batch_idx)
        tokens = self.tokenizer.at(layout).split(own)
        loss = self.objective.loss(self, tokens, batch.label, rng, layout)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_fit_start(self) -> None:
        """Tokenise images that never change once per run; always in the same batches, so that resuming is exact."""
        # A trial of a step or two does not pay for tokens of all images.
        anew = self.ordering.draws_layouts and not self.tokenizer.splits
        needless = anew or bool(vars(self.trainer).get("fast_dev_run"))
        still = None if self.data is None or needless else self.data.still()
        encoded = [self.tokenizer.encoded(batch.image.to(self.device)) for batch in still or ()]
        deviation = [each.deviation for each in encoded if each.deviation is not None]
        tokens = [each.tokens for each in encoded]
        self._still = Encoded(torch.cat(tokens), torch.cat(deviation) if deviation else None) if tokens else None

    def _layout(self, batch_idx: int) -> Layout:
        """The layout of a training step."""
        if not self.ordering.draws_layouts:
            return self.layout
        # A stream of its own, so that what else is drawn does not depend on the ordering; the same in all processes,
        # so that none waits for another's longer pass.
        return self.ordering.draw_layout(self.layout, BatchRng(mix_seed(self.seed, self.global_step, batch_idx, 2), 1))

    def _encoded(self, batch: Batch, still: Encoded | None, layout: Layout) -> Encoded:
        """The tokenizer's tokens: those a batch carries, or worked out when the run began, or worked out now."""
        if batch.tokens is not None:
            return Encoded(batch.tokens, batch.deviation)
        if still is None:
            return self.tokenizer.at(layout).encoded(batch.image)
        deviation = still.deviation
        return Encoded(still.tokens[batch.row], None if deviation is None else deviation[batch.row])

    def _drawn(self, encoded: Encoded, batch_idx: int) -> Tensor:
        """tokens + deviation · noise where they are uncertain: other noise in every step, the same when resumed."""
        if encoded.deviation is None:
            return encoded.tokens
        # A stream of its own, so that what else is drawn does not depend on the kind of tokenizer.
        rng = BatchRng(mix_seed(self.seed, self.global_step, batch_idx, self.global_rank, 1), len(encoded.tokens))
        noise = rng.normal(*encoded.tokens.shape[1:]).to(encoded.tokens)
        return encoded.tokens + encoded.deviation * noise

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch, batch_idx, "test")

    def _evaluate(self, batch: Batch, batch_idx: int, part: str) -> None:
        """Nats per token and image, bits per dimension, where they are exact; else the training loss."""
        size = len(batch.label)
        tokens = self.tokenizer.split(self._encoded(batch, None, self.layout).tokens)
        log_prob_BM = self.log_prob(tokens, batch.label)
        if log_prob_BM is None:
            rng = BatchRng(mix_seed(self.seed, batch_idx, self.global_rank), size)
            loss = self.objective.loss(self, tokens, batch.label, rng, self.layout)
            self.log(f"{part}/loss", loss, batch_size=size, prog_bar=True, sync_dist=True)
            # A stream of its own, so that the loss does not depend on what is told beside it.
            bound_B = self.bound(
                tokens, batch.label, BatchRng(mix_seed(self.seed, batch_idx, self.global_rank, 3), size)
            )
            if bound_B is not None:
                most = {"nats_per_image_bound": -bound_B.mean()}
                most["nats_per_token_bound"] = most["nats_per_image_bound"] / self.layout.num_tokens
                self.log_dict({f"{part}/{n}": value for n, value in most.items()}, batch_size=size, sync_dist=True)
            return
        nats_per_token = -log_prob_BM.mean()
        nats_per_image = -log_prob_BM.sum(-1).mean()
        figures = {"nats_per_token": nats_per_token, "nats_per_image": nats_per_image}
        bits_per_dim = self.tokenizer.module.bits_per_dim(float(nats_per_image))
        if bits_per_dim is not None:
            figures["bits_per_dim"] = nats_per_image.new_tensor(bits_per_dim)
        named = {f"{part}/{name}": value for name, value in figures.items()}
        self.log_dict(named, batch_size=size, sync_dist=True)
        self.log(f"{part}/loss", nats_per_token, batch_size=size, prog_bar=True, sync_dist=True)

    @torch.no_grad()
    def log_prob(self, tokens: Tensor, label: Tensor) -> Tensor | None:
        """Exact log-likelihood in nats of token n at [:, n], (B, N); None where ordering or head have no exact one."""
        condition = self.conditioner(label)
        scored = self._scored(condition.prefix, BatchRng(0, len(label)), tokens.device)
        # Drawn orders give each image a likelihood under its own order: see ``bound``.
        if scored is None or not scored.exact:
            return None
        step = scored.step
        target = gather(tokens, step.read.token)
        log_prob_BM = self.head.log_prob(self.teacher_predict(step, tokens, condition), step, target)
        return None if log_prob_BM is None else scatter(log_prob_BM, step.read.token, log_prob_BM)

    @torch.no_grad()
    def bound(self, tokens: Tensor, label: Tensor, rng: Rng) -> Tensor | None:
        """A draw (B,) whose mean is a lower bound on log p(tokens | label) in nats; None where there is none."""
        condition = self.conditioner(label)
        scored = self._scored(condition.prefix, rng, tokens.device)
        if scored is None:
            return None
        step = scored.step
        target = gather(tokens, step.read.token)
        bound_BM = self.head.bound(self.teacher_predict(step, tokens, condition), step, target, rng)
        return None if bound_BM is None else scored.times * bound_BM.sum(-1)

    def _scored(self, prefix: Prefix, rng: Rng, device: torch.device) -> Scored | None:
        if self.tokenizer.splits:
            # Levels of a latent say the same thing several times: their density is none of the latent.
            return None
        if self.ordering.static and self.ordering.exact and prefix.valid is None:
            # What is fed does not change, so that what was worked out for it is found again.
            return Scored(self.ordering.teacher(self.layout, prefix, rng, device))
        scored = self.ordering.scored(self.layout, prefix, rng)
        return None if scored is None else dataclasses.replace(scored, step=scored.step.to(device))

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return self.optimizer.build(self, int(self.trainer.estimated_stepping_batches))

    def configure_callbacks(self) -> list[Callback]:
        return [WeightAveraging(multi_avg_fn=average(self.ema_decay))] if self.ema_decay else []

    # ---- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint[KEY]["tokenizer"] = {"state_dict": self.tokenizer.module.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Train on from the raw weights, not from their average, where this run keeps no average."""
        if self._trainer is None or "current_model_state" not in checkpoint:
            return
        # Lightning gives a Trainer this attribute from outside of its class.
        callbacks: list[Callback] = vars(self._trainer)["callbacks"]
        if not any(isinstance(callback, WeightAveraging) for callback in callbacks):
            checkpoint["state_dict"] = checkpoint["current_model_state"]

    def adopt(self, checkpoint: Mapping[str, Any]) -> None:
        """Give the frozen tokenizer the weights that lie beside the generator's."""
        if "tokenizer" not in checkpoint[KEY]:
            raise ValueError("the weights of its tokenizer are missing (tokenizer.safetensors, of an export)")
        self.tokenizer.module.load_state_dict(checkpoint[KEY]["tokenizer"]["state_dict"])


def load_tokenizer(path: str) -> Tokenizer:
    """The tokenizer of a run, checkpoint or export: its own, or that of a generator.

    Raises:
        ValueError: there is none; experiment files are run by ``arlab fit`` before it builds a generator.
    """
    from arlab.runs import resolve

    if Path(path).suffix in (".yaml", ".yml"):
        raise ValueError(f"tokenizer: {path} is an experiment; run `arlab fit --config {path}` and name its run")
    return resolve.load_tokenizer(path, Tokenizer)
