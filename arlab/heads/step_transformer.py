"""A transformer over the tokens that are drawn together: the denoiser of FlowAR.

Letters: B batch, M tokens predicted, K noised copies of a token, R = B · K, A axes, C token vector width, P numbers per
token that come out, D width of the backbone, W width of the transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.heads.denoiser import Denoise, Denoised, Denoiser
from arlab.heads.groups import Groups
from arlab.heads.head import Hidden, Predict
from arlab.heads.step_blocks import ModulatedBlock, StepBlock, Told, rms_normed
from arlab.orderings.step import Step
from arlab.precision import in_float32
from arlab.ranges import require
from arlab.rotation import angles, rotation
from arlab.times import TimeEmbedding

_BASE = 10000.0
_NARROWEST = 6  # a pair of channels for each of three axes


class StepTransformer(Denoiser):
    """f(x_t, t, h): tokens that are drawn together see each other, so what is drawn at once need not be independent.

    A token's vector says x_t; rotary places say where it lies, on every level from 0 to ``span``; time(t) and W h
    modulate it. Tokens of other steps are not seen: in training one pass runs over the tokens of all steps, attention
    within each. Where ways meet in a token, their conditions W_way h are mixed (ours), and so, where a
    block looks at them, are the hidden vectors.

    FlowAR: Scale-wise Autoregressive Image Generation Meets Flow Matching, arXiv 2412.15205.

    Args:
        width: W.
        num_blocks: blocks.
        num_heads: of their attention (FlowAR: W / 64).
        block: how time and condition enter a block; ``ModulatedBlock`` by default.
        truncate_time: embed 1000 t rounded down, as FlowAR does.
        span: how far the places of a level reach along its longest axis, however many cells that has.
    """

    together = True

    def __init__(
        self,
        *,
        width: int = 256,
        num_blocks: int = 2,
        num_heads: int = 4,
        block: StepBlock | None = None,
        truncate_time: bool = False,
        span: float = 16.0,
    ) -> None:
        super().__init__()
        require("denoiser.width", width, at_least=1)
        require("denoiser.num_blocks", num_blocks, at_least=1, at_most=1000)
        require("denoiser.num_heads", num_heads, at_least=1)
        require("denoiser.span", span, above=0, at_most=10000)
        if width % num_heads or width // num_heads % 2 or width // num_heads < _NARROWEST:
            raise ValueError(
                f"denoiser.num_heads: must divide the width {width} into heads of an even width of at least "
                f"{_NARROWEST}, got {num_heads}"
            )
        self.width = width
        self.num_blocks = num_blocks
        self.num_heads = num_heads
        self.block = ModulatedBlock() if block is None else block
        self.truncate_time = truncate_time
        self.span = span
        # Looked up in the steps themselves, whose numbers would else be waited for in every pass.
        self._groups: WeakKeyDictionary[Step, Groups] = WeakKeyDictionary()

    def bind(self, width: int, token_width: int, outputs: int, ways: int) -> None:
        inner = self.width
        self.input = nn.Linear(token_width, inner)
        self.time = TimeEmbedding(inner, truncate=self.truncate_time)
        self.conditions = nn.ModuleList(nn.Linear(width, inner) for _ in range(ways))
        self.blocks = nn.ModuleList(self.block.build(inner, self.num_heads, width) for _ in range(self.num_blocks))
        self.modulation = nn.Linear(inner, 2 * inner)
        self.output = nn.Linear(inner, outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.time.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(self.output.weight)

    def look(self, predict: Predict, step: Step) -> Denoise:
        predicted = predict()
        conditional = self._tokens(predicted.conditional, step)
        free = None if predicted.unconditional is None else self._tokens(predicted.unconditional, step)

        def denoise(noisy_BMKC: Tensor, time_BMK: Tensor) -> Denoised:
            said = self._denoised(noisy_BMKC, time_BMK, conditional)
            return Denoised(said, None if free is None else self._denoised(noisy_BMKC, time_BMK, free))

        return denoise

    def _tokens(self, hidden: Hidden, step: Step) -> _Tokens:
        device = hidden.ways[0].device
        layout = hidden.layout
        unit_NA = layout.place_NA * (self.span / max(layout.finest))
        place_MA = unit_NA.to(device)[hidden.read.token.to(device)]
        if step not in self._groups:
            self._groups[step] = Groups(step.group_M.to(device))
        return _Tokens(
            hidden.mix(list(self.conditions)),
            hidden.mix([nn.Identity() for _ in self.conditions]) if self.block.looks_at_hidden else None,
            angles(place_MA, self.width // self.num_heads, _BASE),
            self._groups[step],
        )

    @in_float32
    def _denoised(self, noisy_BMKC: Tensor, time_BMK: Tensor, tokens: _Tokens) -> Tensor:
        """(B, M, K, P); copies do not see each other."""
        batch, _, copies, _ = noisy_BMKC.shape
        noisy_RMC = noisy_BMKC.transpose(1, 2).flatten(0, 1).to(self.input.weight.dtype)
        time_RMW = self.time(time_BMK.transpose(1, 2).flatten(0, 1))
        told = tokens.told(time_RMW, copies)
        x_RMW = self.input(noisy_RMC)
        for block in self.blocks:
            x_RMW = block(x_RMW, told)
        shift, scale = self.modulation(F.silu(told.time + told.condition)).chunk(2, -1)
        said_RMP = self.output(rms_normed(x_RMW) * (1 + scale) + shift)
        said_BMKP: Tensor = said_RMP.unflatten(0, (batch, copies)).transpose(1, 2)
        return said_BMKP


@dataclass(frozen=True)
class _Tokens:
    """What does not change from call to call.

    Attributes:
        condition: (B, M, W).
        hidden: (B, M, D), or None.
        angle: [B,] M, E / 2.
        groups: which tokens are drawn together.
    """

    condition: Tensor
    hidden: Tensor | None
    angle: Tensor
    groups: Groups

    def told(self, time_RMW: Tensor, copies: int) -> Told:
        """The same for so many copies of each token."""

        def copied(values: Tensor) -> Tensor:
            return values if copies == 1 else values.repeat_interleave(copies, 0)

        hidden = None if self.hidden is None else copied(self.hidden)
        turned = rotation(copied(self.angle) if self.angle.dim() == 3 else self.angle)
        return Told(time_RMW, copied(self.condition), hidden, turned, self.groups)
