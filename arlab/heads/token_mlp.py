"""An MLP per token, told by the backbone which token: the denoiser of MAR.

Letters: B batch, M tokens predicted (m of them by one way), K noised copies of a token, C token vector width, P numbers
per token that come out, D width of the backbone, W width of the MLP.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.heads.denoiser import Denoise, Denoised, Denoiser
from arlab.heads.head import Predict
from arlab.orderings.step import Step
from arlab.precision import upcast
from arlab.ranges import require
from arlab.times import TimeEmbedding


class TokenMLP(Denoiser):
    """f(x_t, t, h): residual blocks over one token, modulated by y = time(t) + W h; one network per way.

    x ← x + gate(y) · MLP(norm(x) · (1 + scale(y)) + shift(y)), where norm has weights; in front of the output one
    without. Gates, and the output, start at zero. Ways that meet are mixed as outputs: velocities or predicted noise,
    not logits (ours).

    Autoregressive Image Generation without Vector Quantization (MAR), arXiv 2406.11838.

    Args:
        width: W; the backbone's where not given.
        num_blocks: residual blocks.
        truncate_time: embed 1000 t rounded down.
    """

    def __init__(self, *, width: int | None = None, num_blocks: int = 3, truncate_time: bool = False) -> None:
        super().__init__()
        if width is not None:
            require("denoiser.width", width, at_least=1)
        require("denoiser.num_blocks", num_blocks, at_least=1, at_most=1000)
        self.width = width
        self.num_blocks = num_blocks
        self.truncate_time = truncate_time

    def bind(self, width: int, token_width: int, outputs: int, ways: int) -> None:
        self.networks = nn.ModuleList(_Network(self, width, token_width, outputs) for _ in range(ways))

    def look(self, predict: Predict, step: Step) -> Denoise:
        predicted, networks = predict(), list(self.networks)

        def denoise(noisy_BMKC: Tensor, time_BMK: Tensor) -> Denoised:
            conditional = upcast(predicted.conditional.mix(networks, noisy_BMKC, time_BMK))
            if predicted.unconditional is None:
                return Denoised(conditional)
            return Denoised(conditional, upcast(predicted.unconditional.mix(networks, noisy_BMKC, time_BMK)))

        return denoise


class _Network(nn.Module):
    def __init__(self, recipe: TokenMLP, width: int, token_width: int, outputs: int) -> None:
        super().__init__()
        inner = width if recipe.width is None else recipe.width
        self.input = nn.Linear(token_width, inner)
        self.time = TimeEmbedding(inner, truncate=recipe.truncate_time)
        self.condition = nn.Linear(width, inner)
        self.blocks = nn.ModuleList(_Block(inner) for _ in range(recipe.num_blocks))
        self.modulation = nn.Linear(inner, 2 * inner)
        self.output = nn.Linear(inner, outputs)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.time.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
        for linear in (self.modulation, self.output, *(block.modulation for block in self.blocks)):
            assert isinstance(linear, nn.Linear)
            nn.init.zeros_(linear.weight)

    def forward(self, h_BmD: Tensor, noisy_BmKC: Tensor, time_BmK: Tensor) -> Tensor:
        y_BmKW = F.silu(self.time(time_BmK) + self.condition(h_BmD)[:, :, None])
        x_BmKW = self.input(noisy_BmKC.to(h_BmD.dtype))
        for block in self.blocks:
            x_BmKW = block(x_BmKW, y_BmKW)
        shift, scale = self.modulation(y_BmKW).chunk(2, -1)
        x_BmKW = F.layer_norm(x_BmKW, x_BmKW.shape[-1:], eps=1e-6) * (1 + scale) + shift
        out_BmKP: Tensor = self.output(x_BmKW)
        return out_BmKP


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.modulation = nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(y).chunk(3, -1)
        out: Tensor = x + gate * self.mlp(self.norm(x) * (1 + scale) + shift)
        return out
