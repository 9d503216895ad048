"""Modulation that also tells when a slot is fed.

Letters: B batch, S slots, D width, R condition slots and tokens of a pass.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arlab.backbones.modulation import AdaLN, Modulated, Modulation, ModulationModule, NoModulation
from arlab.orderings.ordering import Ordering, Prefix
from arlab.orderings.step import Layout, Slots, Step
from arlab.precision import in_float32
from arlab.rng import BatchRng


class StepModulation(Modulation):
    """Any modulation, of the condition plus a learned vector of when the slot is fed: its step, in step 0 its rank.

    With one token a step that is the slot's rank in the sequence, RAR's timestep embedding. Worked out for every slot,
    adaLN costs as much as half of the other weights of a block.

    Randomized Autoregressive Visual Generation (RAR), arXiv 2411.00776.

    Args:
        modulation: what is modulated how; ``AdaLN`` by default, as in RAR.
    """

    by_row = True

    def __init__(self, *, modulation: Modulation | None = None) -> None:
        name = type(modulation).__name__
        if isinstance(modulation, (NoModulation, StepModulation)):
            raise ValueError(f"backbone.modulation.modulation: choose AdaLN or SharedAdaLN, got {name}")
        self.modulation = AdaLN() if modulation is None else modulation

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        self.modulation.refuse(ordering, layout)
        with torch.device("cpu"):
            # Where the ordering is asked, it must not remember tensors without memory.
            on, rng = Layout(layout.shapes), BatchRng(0, 1)
            steps = [] if ordering.chooses else list(ordering.steps(on, Prefix(1), rng))
            trained = ordering.training(on, Prefix(1), rng).feed
            decoded = Step.cat(steps).feed if steps else None
        name, otherwise = type(ordering).__name__, "choose AdaLN, or an ordering as RandomCausal"
        if (
            decoded is None
            or not torch.equal(decoded.step, trained.step)
            or not torch.equal(decoded.order, trained.order)
        ):
            raise ValueError(
                f"backbone.modulation: StepModulation tells slots by their step, which {name} numbers otherwise in "
                f"decoding than in training; {otherwise}"
            )
        ranks, rows = int(trained.step.max()) + int((trained.step == 0).sum()), 1 + layout.num_tokens
        if ranks > rows:
            raise ValueError(
                f"backbone.modulation: StepModulation has as many vectors as there are condition slots and tokens, "
                f"here {rows}, but {name} counts up to {ranks} steps; {otherwise}"
            )

    def build(self, width: int, num_blocks: int, num_rows: int) -> ModulationModule:
        return _Stepped(self.modulation.build(width, num_blocks, num_rows), width, num_rows)


class _Stepped(ModulationModule):
    no_weight_decay = True

    def __init__(self, inner: ModulationModule, width: int, num_rows: int) -> None:
        super().__init__()
        self.inner = inner
        self.table = nn.Parameter(torch.zeros(num_rows, width))

    @in_float32
    def forward(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        assert rows is not None, "what modulates depends on the slots"
        # Later steps from the front, the ranks of step 0 from the back.
        row_S = torch.where(rows.step > 0, rows.step - 1, len(self.table) - 1 - rows.order)
        modulated: Modulated = self.inner(condition_BSD + self.table[row_S], rows)
        return modulated

    def reset_parameters(self) -> None:
        self.inner.reset_parameters()

    def rescale(self, *, gates: float, others: float, final: float) -> None:
        self.inner.rescale(gates=gates, others=others, final=final)
