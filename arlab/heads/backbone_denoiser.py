"""The backbone as the denoiser: noised tokens are fed to it, and a linear map reads what it says of them.

Letters: B batch, S slots, M tokens predicted, K noised copies of a token, C token vector width, P numbers per token
that come out, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arlab.heads.denoiser import Denoise, Denoised, Denoiser
from arlab.heads.head import Predict
from arlab.orderings.step import Step
from arlab.precision import upcast
from arlab.ranges import require
from arlab.times import TimeEmbedding


class BackboneDenoiser(Denoiser):
    """f(x_t, t) = W h: the whole backbone runs at every step of the head, over noised tokens that know their times.

    For orderings that feed noised slots: NextX, NextBlock.

    Beyond Next-Token: Next-X Prediction for Autoregressive Visual Generation (xAR), arXiv 2502.20388.

    Args:
        truncate_time: embed 1000 t rounded down, as xAR does.
        zero_init: start from zero outputs.
        init_std: standard deviation of other initial weights.
    """

    by_backbone = True
    together = True

    def __init__(self, *, truncate_time: bool = False, zero_init: bool = True, init_std: float = 0.02) -> None:
        super().__init__()
        require("denoiser.init_std", init_std, at_least=0)
        self.truncate_time = truncate_time
        self.zero_init = zero_init
        self.init_std = init_std

    def bind(self, width: int, token_width: int, outputs: int, ways: int) -> None:
        self.time = TimeEmbedding(width, truncate=self.truncate_time)
        self.outputs = nn.ModuleList(nn.Linear(width, outputs) for _ in range(ways))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=self.init_std)
                nn.init.zeros_(module.bias)
        if self.zero_init:
            for output in self.outputs:
                assert isinstance(output, nn.Linear)
                nn.init.zeros_(output.weight)

    def embed_time(self, time_BS: Tensor) -> Tensor:
        h_BSD: Tensor = self.time(time_BS)
        return h_BSD

    def look(self, predict: Predict, step: Step) -> Denoise:
        outputs = list(self.outputs)

        def denoise(noisy_BMKC: Tensor, time_BMK: Tensor) -> Denoised:
            conditional, unconditional = [], []
            # Each copy is a pass of its own: the backbone sees all tokens of a copy together.
            for noisy_BMC, time_BM in zip(noisy_BMKC.unbind(2), time_BMK.unbind(2), strict=True):
                predicted = predict(noisy_BMC, time_BM)
                conditional.append(upcast(predicted.conditional.mix(outputs)))
                if predicted.unconditional is not None:
                    unconditional.append(upcast(predicted.unconditional.mix(outputs)))
            return Denoised(torch.stack(conditional, 2), torch.stack(unconditional, 2) if unconditional else None)

        return denoise
