"""Laws of heads: what is learned is what is drawn, in a toy generator of random weights.

Letters: B batch, N tokens, M tokens predicted, C width of a token vector, V codebook size, I images or values that are
tried.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from arlab.conformance.head_subject import HeadSubject
from arlab.conformance.law import LawBrokenError, rebuilt
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance
from arlab.generators.sampler import Sampler
from arlab.orderings.step import Progress

_MOST_IMAGES = 1024
_MOST_INTEGRATED = 6
_MOST_DRAWN = 4
_DRAWS = 3000
_SOME = 8
_NEAR = 1e-4
_FLAT = 10.0
"""A temperature at which all codes are drawn, whatever the random weights say."""
_STRONG = 1000.0
"""A guidance scale that shows at this temperature."""


def loss_reaches_all(subject: HeadSubject) -> None:
    """The training loss is finite, a number per token, and its gradient reaches every weight and the backbone."""
    generator = subject.generator().train()
    tokens = subject.tokens(16)
    loss_BN = subject.loss(generator, tokens)
    if loss_BN.shape != tokens.shape[:2]:
        raise LawBrokenError(f"the loss of {tuple(tokens.shape[:2])} tokens has the shape {tuple(loss_BN.shape)}")
    if not bool(loss_BN.isfinite().all()):
        place = subject.place(int((~loss_BN.isfinite()).any(0).nonzero()[0, 0]))
        raise LawBrokenError(f"the loss of token {place} is not finite")
    if subject.layout.num_tokens == 1:
        # Nothing is known before the only token, so that nothing is embedded.
        return
    loss_BN.mean().backward()
    for name, parameter in generator.head.named_parameters():
        if parameter.requires_grad and (parameter.grad is None or not bool(parameter.grad.any())):
            raise LawBrokenError(f"no gradient reaches its weight {name}, so that it never learns")
    if not any(p.grad is not None and bool(p.grad.any()) for p in generator.backbone.parameters()):
        raise LawBrokenError("no gradient passes through it to the backbone")


@torch.no_grad()
def sums_to_one(subject: HeadSubject) -> None:
    """Where it has a likelihood, the probabilities of all there is to predict sum to one.

    Of discrete tokens: those of all images, where these are few enough to be listed. Of continuous ones: the density
    of one token, integrated over its values, which are single numbers for that.
    """
    subject = subject.narrow()
    generator = subject.generator().double()
    if subject.space.codebook_size is None:
        _integrates_to_one(subject, generator)
        return
    if subject.space.codebook_size**subject.layout.num_tokens > _MOST_IMAGES:
        return
    codes = range(subject.space.codebook_size)
    images_IN = torch.tensor(list(itertools.product(codes, repeat=subject.layout.num_tokens)))
    log_prob_IN = subject.log_prob(generator, images_IN)
    if log_prob_IN is None:
        return
    total = float(log_prob_IN.sum(-1).exp().sum())
    if not abs(total - 1) < _NEAR:
        raise LawBrokenError(f"the probabilities of all {len(images_IN)} images sum to {total:.4f}")


def _integrates_to_one(subject: HeadSubject, generator: Generator) -> None:
    if subject.layout.num_tokens > _MOST_INTEGRATED:
        return
    # Nothing depends on the token drawn last, so that its own density alone varies with it.
    last = subject.order(generator)[-1]
    value_I = torch.linspace(-40, 40, 2001, dtype=torch.float64)
    tokens = subject.tokens(1).double().repeat(len(value_I), 1, 1)
    tokens[:, last, 0] = value_I
    log_prob_IN = subject.log_prob(generator, tokens)
    if log_prob_IN is None:
        return
    total = float(torch.trapezoid(log_prob_IN[:, last].double().exp(), value_I))
    if not abs(total - 1) < 0.01:
        raise LawBrokenError(f"the density of token {subject.place(last)} integrates to {total:.4f} over its values")


@torch.no_grad()
def likelihood_is_the_loss(subject: HeadSubject) -> None:
    """Where it has a likelihood, its loss is minus the log-probability of a token, in nats, in evaluation."""
    generator = subject.generator()
    tokens = subject.tokens(4)
    log_prob_BN = subject.log_prob(generator, tokens)
    if log_prob_BN is None:
        return
    loss_BN = subject.loss(generator, tokens)
    error_N = (loss_BN + log_prob_BN).abs().amax(0)
    if not float(error_N.max()) < _NEAR * max(1.0, float(loss_BN.abs().max())):
        token = int(error_N.argmax())
        nats = f"{float(loss_BN[0, token]):.4f}, minus its log-probability {-float(log_prob_BN[0, token]):.4f}"
        raise LawBrokenError(f"the loss of token {subject.place(token)} is {nats}")


@torch.no_grad()
def bounds(subject: HeadSubject) -> None:
    """Where it bounds its likelihood, a finite number per token that does not depend on the batch; it is no wrong one.

    Where the likelihood is known the bound is it.
    """
    generator = subject.generator()
    tokens = subject.tokens(3)
    together_BM = subject.bound(generator, tokens, range(3))
    if together_BM is None:
        return
    if together_BM.dim() != 2 or len(together_BM) != len(tokens):
        raise LawBrokenError(f"the bound of {tuple(tokens.shape[:2])} tokens has the shape {tuple(together_BM.shape)}")
    if not bool(together_BM.isfinite().all()):
        raise LawBrokenError("the bound on a token's log-probability is not finite")
    alone_BM = subject.bound(generator, tokens[1:2], [1])
    assert alone_BM is not None
    if _first_difference(together_BM[1], alone_BM[0]) is not None:
        raise LawBrokenError("the bound of image 1 is another when the image is alone")
    log_prob_BN = subject.log_prob(generator, tokens)
    # Of all tokens together, whose order may differ.
    if log_prob_BN is not None and not torch.allclose(together_BM.sum(-1), log_prob_BN.sum(-1), rtol=_NEAR, atol=_NEAR):
        told = f"{float(together_BM[0].sum()):.4f}, its log-probability {float(log_prob_BN[0].sum()):.4f}"
        raise LawBrokenError(f"the likelihood is known, but its bound is another: of image 0 {told}")


@torch.no_grad()
def draws_what_it_says(subject: HeadSubject) -> None:
    """Tokens are drawn as often as their probabilities say; vectors, of a single number, as their density says."""
    if subject.layout.num_tokens > _MOST_DRAWN:
        return
    subject = subject.narrow()
    generator = subject.generator()
    first = subject.order(generator)[0]
    if subject.space.codebook_size is None:
        _draws_by_density(subject, generator, first)
        return
    probability_V = _probabilities(subject, generator, subject.tokens(1), first)
    if probability_V is None:
        return
    drawn_B = subject.draw(generator, range(_DRAWS))[:, first]
    frequency_V = drawn_B.bincount(minlength=len(probability_V)) / _DRAWS
    deviation_V = (probability_V * (1 - probability_V) / _DRAWS).sqrt()
    wrong_V = (frequency_V - probability_V).abs() > 6 * deviation_V + 1 / _DRAWS
    if bool(wrong_V.any()):
        code = int(wrong_V.nonzero()[0, 0])
        raise LawBrokenError(
            f"token {subject.place(first)} is code {code} with probability {float(probability_V[code]):.3f}, but in "
            f"{float(frequency_V[code]):.3f} of {_DRAWS} draws"
        )


def _draws_by_density(subject: HeadSubject, generator: Generator, token: int) -> None:
    value_I = torch.linspace(-40, 40, 8001)
    tokens = subject.tokens(1).repeat(len(value_I), 1, 1)
    tokens[:, token, 0] = value_I
    log_prob_IN = subject.log_prob(generator, tokens)
    if log_prob_IN is None:
        return
    # How much lies below each value, and how many of the draws do.
    below_I = torch.cumulative_trapezoid(log_prob_IN[:, token].double().exp(), value_I.double())
    drawn_B = subject.draw(generator, range(_DRAWS))[:, token, 0]
    share_I = torch.searchsorted(drawn_B.sort().values, value_I[1:].contiguous(), right=True).double() / _DRAWS
    difference_I = share_I - below_I
    # Kolmogorov and Smirnov: of right draws one set in a million is farther off.
    if float(difference_I.abs().max()) > 2.7 / _DRAWS**0.5:
        worst = int(difference_I.abs().argmax())
        raise LawBrokenError(
            f"token {subject.place(token)} is below {float(value_I[worst + 1]):.2f} with probability "
            f"{float(below_I[worst]):.3f}, but in {float(share_I[worst]):.3f} of {_DRAWS} draws"
        )


@torch.no_grad()
def draws_apart(subject: HeadSubject) -> None:
    """A sample depends on its own seed alone: it is the same again, and the same without its batch."""
    generator = subject.generator()
    before = torch.get_rng_state()
    together, alone = subject.draw(generator, range(_SOME)), subject.draw(generator, [1])
    if not torch.equal(before, torch.get_rng_state()):
        raise LawBrokenError("it draws from torch's global random numbers; draw from noise")
    token = _first_difference(together[1], alone[0])
    if token is not None:
        again = _first_difference(together[1], subject.draw(generator, range(_SOME))[1])
        when = "drawn alone" if again is None else "drawn again"
        raise LawBrokenError(f"token {subject.place(token)} of sample 1 is another when the sample is {when}")
    if not torch.equal(together, together[:1].expand_as(together)):
        return
    # Some weights leave little to chance.
    many = subject.draw(generator, range(64), Sampler(temperature=_FLAT))
    if torch.equal(many, many[:1].expand_as(many)):
        raise LawBrokenError("samples of different seeds are all the same")


@torch.no_grad()
def guidance_of_one(subject: HeadSubject) -> None:
    """A guidance scale of 1 is no guidance, and another has an effect."""
    generator = subject.generator()
    seeds = range(64 if subject.space.discrete else _SOME)
    plain = subject.draw(generator, seeds)
    one = subject.draw(generator, seeds, Sampler(guidance=_AlwaysOne()))
    for b in range(len(plain)):
        token = _first_difference(plain[b], one[b])
        if token is not None:
            raise LawBrokenError(f"with a guidance scale of 1 token {subject.place(token)} is another than without")
    if subject.space.discrete:
        plain = subject.draw(generator, seeds, Sampler(temperature=_FLAT))
        strong = Sampler(guidance=ConstantGuidance(guidance_scale=_STRONG), temperature=_FLAT)
    else:
        strong = Sampler(guidance=ConstantGuidance(guidance_scale=2.0))
    if torch.equal(plain, subject.draw(generator, seeds, strong)):
        raise LawBrokenError("guidance changes nothing: what is predicted without the class is not used")


@torch.no_grad()
def greedy(subject: HeadSubject) -> None:
    """At temperature 0 discrete tokens do not depend on the seed, and each is the most likely one."""
    if subject.space.codebook_size is None:
        return
    generator = subject.generator()
    drawn_BN = subject.draw(generator, range(6), Sampler(temperature=0.0))
    for own in drawn_BN[1:]:
        token = _first_difference(drawn_BN[0], own)
        if token is not None:
            raise LawBrokenError(f"at temperature 0 token {subject.place(token)} depends on the seed")
    last = subject.order(generator)[-1]
    probability_V = _probabilities(subject, generator, drawn_BN[:1], last)
    if probability_V is not None and float(probability_V.max() - probability_V[drawn_BN[0, last]]) > _NEAR:
        raise LawBrokenError(f"at temperature 0 token {subject.place(last)} is not the most likely one")


HEAD_LAWS = (
    loss_reaches_all,
    sums_to_one,
    likelihood_is_the_loss,
    bounds,
    draws_apart,
    draws_what_it_says,
    guidance_of_one,
    greedy,
    rebuilt,
)
"""In the order in which an author wants to hear about them."""


class _AlwaysOne(Guidance):
    """Predicts without the class, too, and makes nothing of it."""

    def __init__(self) -> None:
        pass

    def scale(self, progress: Progress) -> float:
        return 1.0

    @property
    def active(self) -> bool:
        return True


def _probabilities(subject: HeadSubject, generator: Generator, image_1N: Tensor, token: int) -> Tensor | None:
    """The probability of each code of a token, given what was drawn before it."""
    varied_VN = image_1N.repeat(subject.space.codebook_size or 0, 1)
    varied_VN[:, token] = torch.arange(len(varied_VN))
    log_prob_VN = subject.log_prob(generator, varied_VN)
    return None if log_prob_VN is None else log_prob_VN[:, token].exp()


def _first_difference(one: Tensor, other: Tensor) -> int | None:
    """The first token in which two samples differ, (N) or (N, C)."""
    different = (one - other).abs().reshape(len(one), -1).amax(-1) > _NEAR * max(1.0, float(one.abs().max()))
    return int(different.nonzero()[0, 0]) if bool(different.any()) else None
