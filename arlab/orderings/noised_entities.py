"""What orderings of noised entities share: the decoding steps, in which an entity is denoised behind clean ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator

import torch
from torch import Tensor

from arlab.orderings.entities import Cells, Entities
from arlab.orderings.ordering import Drawn, Ordering, Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.pyramids.pyramid import Pyramid
from arlab.rng import Rng


class NoisedEntities(Ordering):
    """Draws entity after entity: all its tokens at once, out of noise, by a head whose denoiser is the backbone.

    Step k feeds entity k - 1, now known, and the noised copy of entity k, which says what is to be taken away from
    itself. Heads look at a step often: what is known is fed on the first look and kept, the noised copy on each and
    never kept. Before the first entity come the condition slots.

    Args:
        entities: which tokens are drawn together; ``Cells``, two along each axis, where not given.
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.NOISY})

    def __init__(self, *, entities: Entities | None) -> None:
        self.entities = Cells() if entities is None else entities

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        self.split(layout)

    def layout_of(self, grid: tuple[int, ...]) -> Layout:
        return self.entities.layout_of(grid)

    def latent_pyramid(self, layout: Layout) -> Pyramid | None:
        return self.entities.latent_pyramid(layout)

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        return ((0,) * layout.num_axes,)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        entities, known = self.split(layout), 0
        for number, token in enumerate(entities):
            # What stays is fed ahead of what does not, in a step of its own, so that it never sees noise.
            if number:
                staying = [slots(Kind.TOKEN, entities[number - 1], entities[number - 1], 2 * number)]
            else:
                staying = [condition_slots(prefix)] if prefix.length else []
            start = sum(map(len, staying))
            noised = slots(Kind.NOISY, token, token, 2 * number + 1, keep=False)
            read = Read.own(token, torch.arange(start, start + len(token)))
            progress = Progress(number, len(entities), known, known + len(token), layout.num_tokens)
            yield Step(Slots.cat([*staying, noised]), read, progress)
            known += len(token)

    @abstractmethod
    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        """The teacher-forced pass: what an entity sees of those before it is where such orderings differ."""

    def split(self, layout: Layout) -> list[Tensor]:
        """The tokens of each entity, in the order they are drawn."""
        # A model may be built without memory, but its order has to be known; what the layout remembers may be without.
        with torch.device("cpu"):
            return self.entities(Layout(layout.shapes))
