"""Everything that is measured of a trained generator, under one protocol, and the pictures beside it.

Letters: N images, B batch, K classes shown, P pictures of a class, G generated images shown beside their nearest
training images, C channels, H and W image sides, D features.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime

import torch
from torch import Tensor

from arlab.compare.cost import sampling_cost
from arlab.compare.drawing import Drawer
from arlab.compare.likelihood import likelihood
from arlab.compare.measured_size import asked_size, images_at, in_words
from arlab.compare.measurement import FEWEST_REAL, Measurement
from arlab.compare.real_images import Looked, chosen, look
from arlab.compare.record import Evaluation, Shown
from arlab.compare.showing import show
from arlab.compare.subject import Subject, open_subject
from arlab.data.data import Part
from arlab.data.loaders import LoadedData, Split
from arlab.data.stream import Images
from arlab.features.classifier import shipped
from arlab.generators.generator import Generator
from arlab.generators.sampler import Partial
from arlab.images import to_uint8
from arlab.metrics.figure import Figure
from arlab.metrics.neighbours import nearest
from arlab.metrics.protocol import Protocol
from arlab.metrics.quality import quality
from arlab.metrics.reconstruction import evaluate_reconstruction
from arlab.metrics.seen import Seen, see, see_cached
from arlab.tokenizers.identity import identity, identity_of_data
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.trained import find_device

_CLASSES = 10
_EACH = 8
_NEIGHBOURS = 16
_SEEN_AT_ONCE = 250

OnProgress = Callable[[str, int], None]
"""Called after each piece of work with what it belongs to and how many pieces that has."""


def evaluate(run: str, measurement: Measurement, on_progress: OnProgress | None = None) -> tuple[Evaluation, Shown]:
    """Measure the trained generator of a RUN.

    Args:
        run: a run folder, an experiment folder, a checkpoint or an export.
        measurement: how.
        on_progress: called after each piece of work.

    Raises:
        ValueError: there is no such run, it is no generator, its data are not there, or they cannot be measured so.
    """
    return measure(open_subject(run), measurement, on_progress)


def measure(
    subject: Subject, measurement: Measurement, on_progress: OnProgress | None = None
) -> tuple[Evaluation, Shown]:
    """Measure a trained generator that was opened before; see ``evaluate``.

    The same generator and measurement on the same machine give the same quality and pictures, bit by bit.
    """
    return _Evaluating(subject, measurement, on_progress or _nothing).run()


class _Evaluating:
    """One evaluation.

    Args:
        subject: the generator.
        measurement: how.
        on_progress: called after each piece of work.
    """

    def __init__(self, subject: Subject, measurement: Measurement, on_progress: OnProgress) -> None:
        generator = subject.model
        if not isinstance(generator, Generator):
            raise ValueError(f"{subject.run}: is a {type(generator).__name__}, expected a Generator")
        self.subject = subject
        self.measurement = measurement
        self.on_progress = on_progress
        self.generator = generator
        self.facts = generator.facts
        self.network = shipped(self.facts.channels) if measurement.network is None else measurement.network
        self.network.refuse(self.facts.channels)
        measurement.sampler.check(generator)
        device = find_device(measurement.device)
        generator.to(device)
        generator.tokenizer.module.to(device)
        self.data = subject.images()
        self.size = asked_size(measurement.image_size, self.facts.image_size)
        # Likelihood and tokenizer are of the model's own images, whatever size is compared.
        self.compared = self.data if self.size is None else images_at(self.data, self.size)

    def run(self) -> tuple[Evaluation, Shown]:
        """Figures and pictures."""
        subject, measurement, generator, facts = self.subject, self.measurement, self.generator, self.facts
        part = self._part(self.compared, measurement.split)
        on_batch = self._batches("real images", len(part), _SEEN_AT_ONCE)
        looked = self._look(part, min(_CLASSES, max(1, facts.num_classes)), on_batch)
        drawer = Drawer(
            generator, measurement.sampler, looked.counts, measurement.seed, measurement.batch_size, self.size
        )
        protocol = measurement.drawn(generator, len(part), self._named(looked.digest))
        of_own = protocol
        if self.size is not None:
            protocol = dataclasses.replace(protocol, image_size=in_words(self.size, facts.image_size))
            part = self._part(self.data, measurement.split)
            of_own = dataclasses.replace(of_own, data=self._named(self._look(part, 1).digest))
        of_real = Protocol(split=of_own.split, ema=of_own.ema, data=of_own.data)

        pixel_MCHW = self._draw(drawer, measurement.count(len(part)))
        train = self._seen(Split.TRAIN)
        generated = self._see(Images(pixel_MCHW, drawer.labels(torch.arange(len(pixel_MCHW)))))
        figures = self._quality(generated, train, protocol)
        on_batch = self._batches("likelihood", len(part), measurement.batch_size)
        of_bound = dataclasses.replace(of_real, seed=measurement.seed)
        likely = likelihood(generator, part, of_bound, batch_size=measurement.batch_size, on_batch=on_batch)
        figures |= likely.figures
        figures |= sampling_cost(
            generator,
            measurement.sampler,
            drawer.labels(torch.arange(measurement.batch_size)),
            batch_size=measurement.batch_size,
            seed=measurement.seed,
            protocol=of_own,
        )
        evaluation = Evaluation(
            run=subject.run,
            checkpoint=subject.path.as_posix(),
            content=subject.content,
            step=subject.step,
            ordering=type(generator.ordering).__name__,
            head=type(generator.head).__name__,
            tokenizer=_kind(generator.tokenizer.module),
            tokenizer_sha256=identity(generator.tokenizer.module),
            source=self.data.facts.source,
            figures=figures,
            tokenizer_figures=self._tokenizer(part, dataclasses.replace(of_real, ema=None)),
            nats_by_step=likely.nats_by_step,
            tokens_by_step=likely.tokens_by_step,
            machine=machine(generator.device),
            measured=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return evaluation, show(drawer, pixel_MCHW, looked.real_KPCHW, self._nearest(generated, train))

    # ---- images

    def _named(self, digest: str) -> str:
        return f"{self.data.facts.source} {digest[:8]}"

    def _part(self, data: LoadedData, split: Split) -> Part:
        """The real images of a part that count.

        Raises:
            ValueError: there are none.
        """
        part = data.part(split)
        if len(part) < FEWEST_REAL:
            name = data.facts.source
            raise ValueError(
                f"split: the {split.value} part of {name} has {len(part)} images, too few to compare with; at least "
                f"{FEWEST_REAL} are needed"
            )
        return chosen(part)

    def _look(self, part: Part, classes: int, on_batch: Callable[[], None] | None = None) -> Looked:
        return look(
            part,
            num_classes=max(1, self.facts.num_classes),
            classes=classes,
            each=_EACH,
            batch_size=_SEEN_AT_ONCE,
            on_batch=on_batch,
        )

    def _draw(self, drawer: Drawer, count: int) -> Tensor:
        """The generated images, (M, C, H, W) uint8."""
        batches = math.ceil(count / self.measurement.batch_size)

        def on_step(partial: Partial) -> None:
            self.on_progress("drawing", batches * partial.progress.steps)

        return drawer.draw(torch.arange(count), on_step)

    # ---- figures

    def _see(self, images: Part) -> Seen:
        on_batch = self._batches("generated images", len(images), _SEEN_AT_ONCE)
        return see(self.network, images, batch_size=_SEEN_AT_ONCE, device=self.generator.device, on_batch=on_batch)

    def _seen(self, split: Split) -> Seen:
        """Real images as the network sees them; it sees them once."""
        part = self._part(self.compared, split)
        return see_cached(
            self.network,
            part,
            content=self._content(split, part),
            folder=self.measurement.folder,
            batch_size=_SEEN_AT_ONCE,
            device=self.generator.device,
            on_batch=self._batches(f"{split.value} images", len(part), _SEEN_AT_ONCE),
        )

    def _content(self, split: Split, part: Part) -> str:
        """What the real images are, so that features of others are never taken for theirs."""
        data = self.compared
        if data.content() is None:
            # Where they do not say, they are looked at; most ship with a package.
            return self._look(part, 1).digest
        # The identity counts the size that they are read at.
        return f"{identity_of_data(data)} {data.sample()} {split.value} {len(data.part(split))}"

    def _quality(self, generated: Seen, train: Seen, protocol: Protocol) -> dict[str, Figure]:
        split, names = self.measurement.split, self.facts.class_names
        unseen = self._seen(Split.VALIDATION if split is Split.TRAIN else split)
        return quality(
            train if split is Split.TRAIN else unseen,
            generated,
            dataclasses.replace(protocol, feature_network=self.network.name, feature_hash=self.network.weights_hash),
            train=train,
            unseen=unseen,
            classes=bool(names) and self.network.class_names == names,
        )

    def _tokenizer(self, part: Part, protocol: Protocol) -> dict[str, Figure]:
        batch_size = self.measurement.batch_size
        return evaluate_reconstruction(
            self.generator.tokenizer.module,
            part,
            torch.arange(len(part)),
            network=self.network,
            protocol=protocol,
            batch_size=batch_size,
            on_batch=self._batches("tokenizer", len(part), batch_size),
        ).figures

    def _nearest(self, generated: Seen, train: Seen) -> Tensor:
        """The training images nearest to the first generated ones, (G, C, H, W) uint8."""
        nearest_G = nearest(generated.feature_ND[:_NEIGHBOURS], train.feature_ND).row_M
        return to_uint8(self._part(self.compared, Split.TRAIN).batch(nearest_G, known=False).image).cpu()

    def _batches(self, what: str, images: int, batch_size: int) -> Callable[[], None]:
        """Tells that a batch is done."""
        return functools.partial(self.on_progress, what, math.ceil(images / batch_size))


def _kind(tokenizer: Tokenizer) -> str:
    """Its class, with what it quantises by: 'VQTokenizer (VectorQuantizer)'."""
    name = type(tokenizer).__name__
    return f"{name} ({type(tokenizer.quantizer).__name__})" if isinstance(tokenizer, LearnedTokenizer) else name


def machine(device: torch.device) -> dict[str, str | int]:
    """What speed depends on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {"device": name, "cores": os.cpu_count() or 1, "threads": torch.get_num_threads()}


def _nothing(what: str, total: int) -> None:
    """Nobody watches."""
