"""Signs that a tokenizer's training goes wrong: what was seen, where it usually comes from, what to try.

Every sign has a severity: it is told once it exceeds 1, and told again only after it has been below 0.9 in between.

Letters: C vector width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from arlab.callbacks.code_window import Hits

_WELL = 0.9
_DOCS = "docs/reading-a-run.md"


@dataclass(frozen=True)
class Symptom:
    """What may be wrong.

    Attributes:
        condition: its name.
        severity: above 1 it is ill, below 0.9 well, in between as before.
        text: what was seen, likely causes, remedies.
    """

    condition: str
    severity: float
    text: str


class Contest(NamedTuple):
    """A discriminator's figures of a training step, as they are logged; None for those it does not have yet."""

    logits_real: float
    logits_fake: float
    adversarial: float | None
    adaptive_weight: float | None


class Notes:
    """What was told of a run, and what is still so.

    Attributes:
        told: entries of ``step``, ``condition`` and ``text``, the oldest first.
        ill: conditions that were told and have not recovered.
    """

    def __init__(self) -> None:
        self.told: list[dict[str, int | str]] = []
        self.ill: set[str] = set()

    def take(self, step: int, symptoms: Iterable[Symptom]) -> list[str]:
        """The lines that are new at this step."""
        lines: list[str] = []
        for symptom in symptoms:
            if symptom.severity > 1 and symptom.condition not in self.ill:
                self.ill.add(symptom.condition)
                lines.append(self._entry(step, symptom.condition, symptom.text))
            elif symptom.severity < _WELL and symptom.condition in self.ill:
                self.ill.remove(symptom.condition)
                lines.append(self._entry(step, symptom.condition, f"{symptom.condition}: recovered"))
        return lines

    def _entry(self, step: int, condition: str, text: str) -> str:
        self.told.append({"step": step, "condition": condition, "text": text})
        return text


def of_codebook(condition: str, hits: Hits, window: int, *, min_usage: float) -> Symptom:
    """Too few codes are hit, of those that as many vectors could have hit."""
    aim = f"{hits.codes:,} codes"
    if hits.expected < 0.99 * hits.codes:
        aim += f" ({hits.vectors:,} vectors could have hit {hits.expected:,.0f})"
    return Symptom(
        condition,
        _ratio(min_usage, hits.share),
        f"{condition}: {hits.dead / hits.codes:.0%} of {aim} were not hit in the last {window} batches (collapse). "
        "Likely: the latents moved on without their codes, more codes than the data needs, a learning rate too high. "
        "Try: revive_below 0.3 where the codebook has it, cosine similarity, an entropy loss, a smaller codebook_size "
        f"or token_width; see {_DOCS}#codebook-collapse",
    )


def of_levels(levels: Sequence[Hits], window: int, *, min_information: float) -> Iterator[Symptom]:
    """One says nothing while others do.

    As many vectors as a level has can hit only so many codes by chance: a level is measured by that, not by V.
    """
    if len(levels) < 2:
        return
    best = max(level.information for level in levels)
    for number, level in enumerate(levels):
        # Where no level says anything it is the codebook that collapsed.
        severity = _ratio(min_information, level.information) if best > 2 * min_information else 0.0
        yield Symptom(
            f"level {number}",
            severity,
            f"level {number}: {level.vectors:,} vectors of the last {window} batches hit {level.hit:,} of "
            f"{level.codes:,} codes, perplexity {level.perplexity:.2f}: it says nearly the same of all images. Likely: "
            "images hardly differ in what it sees, and it is a token too many; or it shares its codes with levels it "
            "has little in common with. Try: without this level, other sizes or cut-offs, a codebook for each level; "
            f"see {_DOCS}#a-level-that-says-nothing",
        )


def of_perplexity(now: float, highest: float, *, max_fall: float) -> Symptom:
    """Codes that were in use are being lost."""
    return Symptom(
        "codebook perplexity",
        (1 - now / max(1.0, highest)) / max_fall,
        f"codebook perplexity: fell from {highest:.0f} to {now:.0f}. Likely: codes die faster than they are revived, "
        "or a few take over, after a jump of the learning rate or of a loss. Try: a lower learning rate, a larger "
        f"revive_below or decay, a smaller commitment_weight; see {_DOCS}#codebook-collapse",
    )


def of_posterior(kl_C: Sequence[float], *, min_kl: float, max_kl: float) -> Iterator[Symptom]:
    """Channels of a Gaussian posterior that carry nothing, or far too much, in nats per token."""
    mean = sum(kl_C) / len(kl_C)
    empty = sum(value < min_kl for value in kl_C)
    yield Symptom(
        "posterior collapse",
        2 * empty / len(kl_C),
        f"posterior collapse: {empty} of {len(kl_C)} channels carry less than {min_kl:g} nats a token. Likely: "
        "kl_weight is too large, or the latent wider than the images need. Try: a tenth of it, a smaller token_width; "
        f"see {_DOCS}#posterior-collapse",
    )
    yield Symptom(
        "posterior explosion",
        mean / max_kl,
        f"posterior explosion: {mean:.3g} nats a token and channel on average. Likely: kl_weight is too "
        "small, or the learning rate too high, and latents drift away from a unit Gaussian. Try: ten times the weight, "
        f"gradient clipping; see {_DOCS}#posterior-collapse",
    )


def of_discriminator(
    history: Sequence[Contest], *, max_gap: float, min_gap: float, max_weight: float
) -> Iterator[Symptom]:
    """It tells everything, or nothing, or its share of the loss has run against its bound."""
    real, fake = (sum(column) / len(history) for column in zip(*(h[:2] for h in history), strict=True))
    gap = real - fake
    losses = [h.adversarial for h in history if h.adversarial is not None]
    half = len(losses) // 2
    # Before it is heard nothing follows from its being right.
    rising = len(losses) == len(history) and sum(losses[-half:]) > sum(losses[:half])
    logits = f"logits {real:.2f} on images, {fake:.2f} on reconstructions"
    # A gap that is wide but no longer grows is no news, nor is it recovery.
    yield Symptom(
        "discriminator wins",
        gap / max_gap if rising else min(1.0, gap / max_gap),
        f"discriminator wins: {logits}, and the adversarial loss still rises. Likely: it learns faster than the "
        "decoder can follow, or reconstructions were poor when it began. Try: a lower learning rate of it, a later "
        f"adversarial.start_step, a smaller adversarial.weight, a regularizer; see {_DOCS}#the-discriminator",
    )
    yield Symptom(
        "discriminator blind",
        _ratio(min_gap, gap),
        f"discriminator blind: {logits}: it tells nothing apart, so its gradient is noise. Likely: its learning rate "
        "is far too high or too low, or too strong a regularisation. Try: another learning rate of it, a deeper or "
        f"wider one; see {_DOCS}#the-discriminator",
    )
    weights = [h.adaptive_weight for h in history if h.adaptive_weight is not None]
    if len(weights) < len(history):
        return
    yield Symptom(
        "adaptive weight",
        min(weights) / max_weight,
        f"adaptive weight: at least {min(weights):.3g} all the time. Likely: the discriminator's gradient has vanished "
        "beside the reconstruction's, so that its weight runs against its bound of 10,000. Try: a later "
        f"adversarial.start_step, a lower learning rate of it, a regularizer; see {_DOCS}#the-discriminator",
    )


def of_reconstruction(psnr: float, at_start: float, *, max_drop: float) -> Symptom:
    """Reconstructions are further from their images than before the discriminator joined."""
    return Symptom(
        "reconstruction",
        (at_start - psnr) / max_drop,
        f"reconstruction: val/psnr is {psnr:.2f} dB, {at_start - psnr:.2f} dB below what it was when the discriminator "
        "was first heard. Likely: the adversarial loss outweighs the reconstruction loss. Try: a smaller "
        f"adversarial.weight, a later adversarial.start_step; see {_DOCS}#the-discriminator",
    )


def _ratio(least: float, value: float) -> float:
    """How far a value is below the least it should be."""
    return least / value if value > 0 else (float("inf") if least > 0 else 0.0)
