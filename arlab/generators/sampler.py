"""The only decoding loop, for every ordering and head: feed a step's slots, draw what it reads, write, next.

Letters: B batch, N tokens of an image, M tokens drawn in a step, S slots, P condition slots.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.backbones.cache import Cache
from arlab.configurable import Configurable
from arlab.generators.conditioners import Condition
from arlab.generators.feeding import Known, mask_for, scatter
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance
from arlab.generators.schedules import Schedule
from arlab.heads.head import Hidden, Predict, Predicted, Sampling
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.rng import Noise, SampleRng, mix_seed

Draw = Callable[[Predict, Step], Drawn]


@dataclass(frozen=True)
class Partial:
    """What is known after a step.

    Attributes:
        progress: how far decoding has come.
        tokens: (B, N) or (B, N, C).
        known: (B, N) bool, guesses that will be drawn again among them.
        preview: makes an image of it, (B, C, H, W) in [-1, 1].
    """

    progress: Progress
    tokens: Tensor
    known: Tensor
    preview: Callable[[], Tensor]


@dataclass(frozen=True)
class Samples:
    """Generated images, their tokens, and what they were asked to be.

    Attributes:
        images: (B, C, H, W) float32 in [-1, 1].
        tokens: (B, N) or (B, N, C).
        labels: (B,).
    """

    images: Tensor
    tokens: Tensor
    labels: Tensor


class Sampler(Configurable):
    """Draws images from a generator.

    Args:
        guidance: the guidance scale of each step.
        temperature: divides logits, scales noise; 0 takes the most likely token; a number or a schedule.
        top_k: draw among this many most likely tokens; 0 = all; a number or a schedule; of heads that draw codes.
        top_p: of those, the fewest whose probabilities sum to at least this; 1 = all.
        use_cache: keep keys and values between steps; without, every step runs over all slots so far.
    """

    def __init__(
        self,
        *,
        guidance: Guidance | None = None,
        temperature: float | Schedule = 1.0,
        top_k: int | Schedule = 0,
        top_p: float = 1.0,
        use_cache: bool = True,
    ) -> None:
        self.guidance = ConstantGuidance() if guidance is None else guidance
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        # Numbers out of range are refused now; a schedule refuses its own.
        Sampling(
            temperature=0.0 if isinstance(temperature, Schedule) else temperature,
            top_k=0 if isinstance(top_k, Schedule) else top_k,
            top_p=top_p,
        )
        self.use_cache = use_cache

    def sample(
        self,
        generator: Generator,
        labels: Tensor,
        *,
        seeds: Sequence[int],
        layout: Layout | None = None,
        on_step: Callable[[Partial], None] | None = None,
    ) -> Samples:
        """One image per label; image i depends on its label and ``seeds[i]`` alone, not on the batch.

        Args:
            generator: the model.
            labels: (B,) classes.
            seeds: one per image.
            layout: where the tokens are to lie, for models that know more than the layout they were trained on.
            on_step: called after each step with what is known so far.

        Raises:
            ValueError: there are not as many seeds as labels, the model does not know the layout, or an option means
                nothing to it (``check``).
        """
        self.check(generator)
        if len(seeds) != len(labels):
            raise ValueError(f"seeds: expected one per label ({len(labels)}), got {len(seeds)}")
        labels = labels.to(generator.device)
        layout = generator.layout if layout is None else layout
        noise = Noise(seeds, layout.num_tokens, generator.device)

        def draw(predict: Predict, step: Step) -> Drawn:
            assert step.progress is not None
            scale, fresh = self.guidance.scale(step.progress), noise
            if generator.ordering.redraws:
                # A token drawn again with the noise it had before would mostly come out the same.
                fresh = noise.again(step.progress.step)
            return generator.head.draw(predict, step, scale, self.sampling(step.progress), fresh)

        tokens = None
        modes = [(module, module.training) for module in generator.modules()]
        generator.eval()
        try:
            for partial in self.decode(generator, labels, seeds=seeds, draw=draw, layout=layout):
                tokens = partial.tokens
                if on_step is not None:
                    on_step(partial)
        finally:
            for module, training in modes:
                module.training = training
        assert tokens is not None, "an ordering without steps"
        return Samples(generator.tokenizer.at(layout).decode(tokens).float(), tokens, labels)

    def check(self, generator: Generator) -> None:
        """See that every option means something to a generator.

        Raises:
            ValueError: guidance is asked for, and the generator never learned what 'no class' is; top-k or top-p is
                given, of which the head makes nothing.
        """
        if self.guidance.active and not generator.conditioner.guidable:
            raise ValueError(
                "guidance: compares with 'no class', which this generator was never trained on "
                "(conditioner.drop_probability: 0); leave guidance_scale at 1"
            )
        head = generator.head
        if head.truncates:
            return
        without = f"{type(head).__name__} draws no codes, so that there are no likeliest ones to keep to"
        if isinstance(self.top_k, Schedule):
            raise ValueError(f"top_k: {without}; leave it at 0, got a {type(self.top_k).__name__}")
        if self.top_k != 0:
            raise ValueError(f"top_k: {without}; leave it at 0, got {self.top_k}")
        if self.top_p != 1:
            raise ValueError(f"top_p: {without}; leave it at 1, got {self.top_p}")

    def sampling(self, progress: Progress) -> Sampling:
        """How sharply to draw at a step."""
        temperature, top_k = self.temperature, self.top_k
        if isinstance(temperature, Schedule):
            temperature = temperature.at(progress)
        if isinstance(top_k, Schedule):
            few = top_k.at(progress)
            # Only 0 itself stands for all tokens, not what would be rounded to it.
            top_k = max(1, round(few)) if few > 0 else 0
        return Sampling(temperature, top_k, self.top_p)

    @torch.no_grad()
    def decode(
        self,
        generator: Generator,
        labels: Tensor,
        *,
        seeds: Sequence[int],
        draw: Draw,
        layout: Layout | None = None,
    ) -> Iterator[Partial]:
        """The decoding loop with any way of drawing (a head's, or the truth when a test drives it)."""
        batch, device = len(labels), labels.device
        layout = generator.layout if layout is None else layout
        guided = self.guidance.active
        both = torch.cat((labels, generator.conditioner.null(labels))) if guided else labels
        run = _Run(self, generator, generator.conditioner(both), batch, guided, layout)
        tokenizer, space = generator.tokenizer.at(layout), generator.tokenizer.space
        empty = torch.zeros(batch, layout.num_tokens, dtype=torch.long, device=device)
        tokens = empty if space.discrete else empty[..., None].expand(-1, -1, space.width).float()
        known_BN = torch.zeros_like(empty, dtype=torch.bool)

        rng = SampleRng([mix_seed(seed, 0) for seed in seeds])
        plan = generator.ordering.plan(layout, run.prefix, rng, device)
        drawn: Drawn | None = None
        while True:
            try:
                step = plan.send(drawn)
            except StopIteration:
                return
            token_BM = step.read.token.expand(batch, -1)
            predict = _StepPredict(run, step, tokens)
            drawn = draw(predict, step)
            predict.finish()
            tokens = scatter(tokens, token_BM, drawn.tokens.to(tokens.dtype))
            known_BN = known_BN.scatter(1, token_BM, True)
            if step.progress is not None:
                preview = tokenizer.on(device).preview
                yield Partial(step.progress, tokens, known_BN, functools.partial(preview, tokens, known_BN))


class _Run:
    """One decoding run: the condition, and the cache or the rows kept so far."""

    def __init__(
        self,
        sampler: Sampler,
        generator: Generator,
        condition: Condition,
        batch: int,
        guided: bool,
        layout: Layout,
    ) -> None:
        self.generator = generator
        self.layout = layout
        self.condition = condition
        self.guided = guided
        valid = condition.valid
        self.prefix = Prefix(condition.slots.shape[1], None if valid is None else valid[:batch])
        # With times or slots in it the condition differs from call to call; without, it is worked out once per run.
        by_slot = Kind.NOISY in generator.ordering.carries or generator.backbone.modulates_by_row
        self.modulated = None if by_slot else generator.backbone.modulate(condition.vector[:, None])
        self.cache = Cache(self.prefix.length + layout.num_tokens) if sampler.use_cache else None
        self.kept: Slots | None = None

    def valid_in_both(self, fed: Slots) -> Slots:
        """Condition slots of the unconditional half are valid where the unconditional condition is."""
        valid = self.condition.valid
        if valid is None or fed.valid is None:
            return fed
        # Those that stand on a place predict, so they are never padding.
        is_condition = (fed.kind == Kind.COND) & (fed.at < 0).reshape(-1, len(fed)).all(0)
        fed_valid = fed.valid.clone()
        fed_valid[:, is_condition] = valid[:, fed.source[..., is_condition]]
        return dataclasses.replace(fed, valid=fed_valid)

    def feed(self, fed: Slots, known: Known) -> tuple[Tensor, ...]:
        """Hidden vectors of the rows fed, one tensor per way; rows that stay are kept."""
        if self.cache is not None:
            ways = self._pass(fed, known, self.cache.rows())
            self.cache.commit(fed)
            return ways
        history = self.kept
        everything = fed if history is None else Slots.cat([history, fed])
        ways = self._pass(everything, known, None)
        staying = fed if fed.staying is None else fed.select(fed.staying)
        self.kept = staying if history is None else Slots.cat([history, staying])
        return ways if history is None else tuple(way[:, len(history) :] for way in ways)

    def _pass(self, fed: Slots, known: Known, cached: Slots | None) -> tuple[Tensor, ...]:
        mask = mask_for(self.generator.ordering, self.layout, fed, cached)
        return self.generator.run_pass(fed, known, self.condition, mask, self.layout, self.modulated, self.cache)


class _StepPredict:
    """Runs the backbone on one step, as often as the head asks; after the first call only on what does not stay."""

    def __init__(self, run: _Run, step: Step, tokens: Tensor) -> None:
        self.run = run
        self.tokens = tokens
        self.both = torch.arange(len(tokens), device=tokens.device).repeat(2 if run.guided else 1)
        self.fed = run.valid_in_both(step.feed.samples(self.both)) if run.guided else step.feed
        self.read = step.read
        self.calls = 0

    def __call__(self, noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
        if self.calls == 1:
            self._leave_out_kept()
        self.calls += 1
        known = Known(self.tokens)
        if noisy is not None and time is not None:
            known = Known.with_noise(self.tokens, self.read.token, noisy, time)
        known = known.samples(self.both) if self.run.guided else known
        ways = self.run.feed(self.fed, known)
        layout = self.run.layout
        if not self.run.guided:
            return Predicted(Hidden(ways, self.read, layout))
        halves = [way.chunk(2) for way in ways]
        conditional, free = (tuple(half[i] for half in halves) for i in (0, 1))
        return Predicted(Hidden(conditional, self.read, layout), Hidden(free, self.read, layout))

    def finish(self) -> None:
        """See that the step's slots were fed, whatever the draw did."""
        if self.calls == 0:
            self()

    def _leave_out_kept(self) -> None:
        leaving = (~self.fed.keep).nonzero()[:, 0]
        place = torch.full_like(self.fed.kind, -1)
        place[leaving] = torch.arange(len(leaving), device=leaving.device)
        slot = place[self.read.slot]
        if bool((slot < 0).any()):
            raise ValueError("a head looks twice at a step whose predicting slots stay in the cache; see Slots.keep")
        self.fed, self.read = self.fed.select(leaving), Read(self.read.token, slot, self.read.way, self.read.weight)
