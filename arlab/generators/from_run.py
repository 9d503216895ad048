"""Training on from a trained generator, with other classes or another part: fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from arlab.generators.initialisation import Initialisation
from arlab.runs.checkpoint import KEY, ORIGIN, STARTED_FROM

if TYPE_CHECKING:
    from arlab.generators.generator import Generator


class FromRun(Initialisation):
    """The weights of a trained generator of the same parts; the averaged ones where it has any.

    Only where training begins: a checkpoint written from then on holds all weights, and needs the run no more. The
    tokenizer should be the run's as well (``tokenizer: RUN``), since to another one the same tokens mean other things.

    Args:
        run: a generator's run, checkpoint or export.
        fresh: beginnings of names of weights that are left as the parts draw them: ``["conditioner."]`` where the
            classes are others than the run's.

    Raises:
        ValueError: a beginning is empty; when applied: there is no such run, it is of no generator, or a weight that is
            not fresh is missing, left over, or of another shape.
    """

    def __init__(self, *, run: str, fresh: list[str] | None = None) -> None:
        if not run:
            raise ValueError("initialisation.run: must name a run, checkpoint or export, got ''")
        self.run = run
        self.fresh = tuple(fresh or ())
        if "" in self.fresh:
            raise ValueError("initialisation.fresh: every name begins with ''; name a part, e.g. conditioner.")

    @torch.no_grad()
    def apply(self, generator: Generator) -> None:
        own = generator.state_dict()
        read = self._read()
        held: Mapping[str, Tensor] = read["state_dict"]
        for beginning in self.fresh:
            if not any(name.startswith(beginning) for name in (*own, *held)):
                parts = ", ".join(sorted({f"{name.partition('.')[0]}." for name in own}))
                raise ValueError(
                    f"initialisation.fresh: no weight's name begins with {beginning!r}; they begin with {parts}"
                )
        mine, theirs = self._kept(own), self._kept(held)
        self._refuse_unfit(mine, theirs)
        generator.load_state_dict(own | theirs)
        # Checkpoints are to be read without the run.
        generator.started_from = read[KEY].get(ORIGIN) or read[KEY].get(STARTED_FROM) or Path(self.run).resolve().name
        generator.initialisation = None
        generator.remember("initialisation", None)

    def _read(self) -> Mapping[str, Any]:
        from arlab.runs.resolve import read

        try:
            held = read(self.run, mapped=True)
        except ValueError as error:
            raise ValueError(f"initialisation.run: {error}") from error
        if "tokenizer" not in held[KEY]:
            name = str(held[KEY]["model"]["class_path"]).rpartition(".")[2]
            raise ValueError(f"initialisation.run: {self.run}: is a {name}, expected a Generator")
        return held

    def _kept(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value for name, value in weights.items() if not name.startswith(self.fresh)}

    def _refuse_unfit(self, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
        found = {name: f"it has no {name}" for name in mine if name not in theirs}
        found |= {name: f"the model has no {name}" for name in theirs if name not in mine}
        found |= {
            name: f"{name} is {tuple(theirs[name].shape)}, the model's is {tuple(value.shape)}"
            for name, value in mine.items()
            if name in theirs and theirs[name].shape != value.shape
        }
        if found:
            name = next(iter(found))
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            anew = " ".join(_beginnings(found, [each for each in (*mine, *theirs) if each not in found]))
            raise ValueError(
                f"initialisation.run: {self.run}: {found[name]}{more}; what is to start anew goes into fresh: {anew}"
            )


def _beginnings(unfit: Mapping[str, str], fit: Sequence[str]) -> list[str]:
    """The shortest beginnings, whole parts, that all weights that do not fit have, and none that fits."""
    found: dict[str, None] = {}
    for name in unfit:
        words = name.split(".")
        tried = [".".join(words[:count]) + "." for count in range(1, len(words))]
        found[next((each for each in tried if not any(other.startswith(each) for other in fit)), name)] = None
    return list(found)
