"""Modulation of noised slots alone: what is clean runs through the blocks unmodulated.

Letters: B batch, S slots, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.backbones.modulation import AdaLN, Modulated, Modulation, ModulationModule, Shift
from arlab.backbones.places import trained_slots
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Kind, Layout, Slots


class NoisedOnly(Modulation):
    """Modulates NOISY slots; for all others scale and shift are 0 and gates 1.

    What is kept of clean slots then depends neither on a time nor on the class, and the class reaches a prediction
    through its own slots only. For orderings that train noised slots behind clean ones: NextBlock.

    ACDiT: Interpolating Autoregressive Conditional Modeling and Diffusion Transformer (ACDiT), arXiv 2412.07720.

    Args:
        modulation: of the noised slots; ``AdaLN`` where not given.

    Raises:
        ValueError: it modulates nothing.
    """

    by_row = True

    def __init__(self, *, modulation: Modulation | None = None) -> None:
        self.modulation = AdaLN() if modulation is None else modulation
        if not self.modulation.active:
            raise ValueError(
                f"backbone.modulation.modulation: {type(self.modulation).__name__} modulates nothing; choose AdaLN"
            )

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        if Kind.NOISY not in ordering.carries:
            raise ValueError(
                "backbone.modulation: NoisedOnly modulates noised slots, and this ordering feeds none, so the class "
                "would have no effect; choose AdaLN"
            )
        fed = trained_slots(ordering, layout)
        # A single entity has nothing clean before it, in decoding neither.
        single = fed.select(fed.kind == Kind.NOISY).one_step
        if not single and not bool((fed.kind == Kind.TOKEN).any()):
            raise ValueError(
                "backbone.modulation: NoisedOnly leaves clean slots unmodulated, but in training "
                f"{type(ordering).__name__} feeds none, only in decoding; choose AdaLN, or the ordering NextBlock"
            )
        self.modulation.refuse(ordering, layout)

    def build(self, width: int, num_blocks: int, num_rows: int) -> ModulationModule:
        return _NoisedOnly(self.modulation.build(width, num_blocks, num_rows))


class _NoisedOnly(ModulationModule):
    def __init__(self, inner: ModulationModule) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        modulated: Modulated = self.inner(condition_BSD, rows)
        if rows is None:
            return modulated
        noisy_S1 = (rows.kind == Kind.NOISY)[:, None]

        def where(value_BSD: Tensor, otherwise: float) -> Tensor:
            return torch.where(noisy_S1, value_BSD, otherwise)

        def masked(shift: Shift) -> Shift:
            return Shift(where(shift.scale, 0.0), where(shift.shift, 0.0), where(shift.gate, 1.0))

        blocks = tuple(None if pair is None else (masked(pair[0]), masked(pair[1])) for pair in modulated.blocks)
        final = modulated.final
        return Modulated(blocks, None if final is None else (where(final[0], 0.0), where(final[1], 0.0)))

    def reset_parameters(self) -> None:
        """The inner module's."""
        self.inner.reset_parameters()

    def rescale(self, *, gates: float, others: float, final: float) -> None:
        self.inner.rescale(gates=gates, others=others, final=final)
