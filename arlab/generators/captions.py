"""Texts as conditions: a fixed set of prompts, embedded by a text encoder beforehand.

Letters: B batch, K prompts, P condition slots, C numbers a token of a prompt, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arlab.data.facts import DataFacts
from arlab.generators.caption_file import MOST_NUMBERS, MOST_TOKENS, read_prompts
from arlab.generators.conditioners import Condition, Conditioner
from arlab.ranges import require
from arlab.rng import Rng

_LARGEST = 2**30


class Captions(Conditioner):
    """Each class is a prompt; its condition slots are W₂ gelu(W₁ e) of its tokens' embeddings e.

    Labels stay the indices of classes, whose names are the prompts. 'No class' is a prompt's length without its words:
    label K + k has other embeddings, the same for all k, under the padding of prompt k. They are drawn once and not
    trained, as in LlamaGen, but kept with the weights. So are embeddings and padding: a checkpoint brings its own, and
    does not need the file. Modulated backbones are told the mean of the slots that are not padding.

    Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation (LlamaGen), arXiv 2406.06525.

    Args:
        file: prompts and their embeddings: safetensors with ``embedding`` (K, P, C) and ``valid`` (K, P), False where
            padded, and in the metadata under ``prompts`` a JSON list.
        drop_probability: how often training replaces the prompt by 'no class', so that guidance has something to
            compare with (Classifier-Free Diffusion Guidance, arXiv 2207.12598).
        init_std: standard deviation of the initial weights.
        prompts: what a checkpoint holds in place of the file; not looked at where a file is named.
        shape: P and C, what a checkpoint holds in place of the file; not looked at where a file is named.

    Raises:
        ValueError: the file cannot be read or does not hold what it should, or there is none.
    """

    embedding: Tensor
    valid: Tensor
    unconditional: Tensor

    def __init__(
        self,
        *,
        file: str,
        drop_probability: float = 0.1,
        init_std: float = 0.02,
        prompts: list[str] | None = None,
        shape: list[int] | None = None,
    ) -> None:
        super().__init__()
        require("conditioner.drop_probability", drop_probability, at_least=0, at_most=1)
        require("conditioner.init_std", init_std, at_least=0)
        self.drop_probability = drop_probability
        self.init_std = init_std
        self._filled = bool(file)
        if file:
            try:
                held = read_prompts(file)
            except ValueError as error:
                raise ValueError(f"conditioner.file: {error}") from error
            prompts, embedding_KPC, valid_KP = list(held.prompts), held.embedding_KPC, held.valid_KP
        elif prompts and shape:
            _refuse_sizes(len(prompts), shape)
            embedding_KPC = torch.zeros(len(prompts), *shape)
            valid_KP = torch.zeros(embedding_KPC.shape[:2], dtype=torch.bool)
        else:
            raise ValueError("conditioner.file: must name a file of prompts and their embeddings, got ''")
        self.prompts = tuple(prompts)
        self.num_slots, self.text_width = embedding_KPC.shape[1:]
        self.register_buffer("embedding", embedding_KPC)
        self.register_buffer("valid", valid_KP)
        # Checkpoints are to be read without the file.
        self.remember("file", "")
        self.remember("prompts", list(self.prompts))
        self.remember("shape", [self.num_slots, self.text_width])

    @property
    def guidable(self) -> bool:
        return self.drop_probability > 0

    def bind(self, width: int, facts: DataFacts) -> None:
        self._refuse_classes(facts.class_names)
        self.project = nn.Sequential(
            nn.Linear(self.text_width, width, bias=False), nn.GELU("tanh"), nn.Linear(width, width, bias=False)
        )
        for module in self.project:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=self.init_std)
        # Of a length of about one.
        self.register_buffer("unconditional", torch.randn(self.num_slots, self.text_width) / self.text_width**0.5)

    def forward(self, label: Tensor) -> Condition:
        self._refuse_blank()
        prompt_B, no_class_B = label % len(self.prompts), label >= len(self.prompts)
        valid_BP = self.valid[prompt_B]
        text_BPC = torch.where(no_class_B[:, None, None], self.unconditional, self.embedding[prompt_B])
        slots_BPD = self.project(text_BPC)
        said_BP1 = valid_BP[..., None]
        return Condition(slots_BPD, (slots_BPD * said_BP1).sum(1) / said_BP1.sum(1), valid_BP)

    def null(self, label: Tensor) -> Tensor:
        return label % len(self.prompts) + len(self.prompts)

    def drop(self, label: Tensor, rng: Rng) -> Tensor:
        dropped = rng.uniform().to(label.device) < self.drop_probability
        return torch.where(dropped, self.null(label), label)

    def _refuse_classes(self, names: tuple[str, ...]) -> None:
        if len(names) != len(self.prompts):
            raise ValueError(f"conditioner.file: holds {len(self.prompts)} prompts, the data has {len(names)} classes")
        for number, (prompt, name) in enumerate(zip(self.prompts, names, strict=True)):
            if prompt != name:
                raise ValueError(
                    f"conditioner.file: its prompts must be the names of the classes, in their order; class {number} "
                    f"is {name!r}, prompt {number} is {prompt!r}"
                )

    def _refuse_blank(self) -> None:
        """See that the embeddings are there, once: a checkpoint's weights, or a run's, bring them."""
        if not self._filled:
            if not self.valid.any():
                raise ValueError("conditioner.file: must name a file, since no weights brought the embeddings; got ''")
            self._filled = True


def _refuse_sizes(count: int, shape: list[int]) -> None:
    if len(shape) != 2:
        raise ValueError(f"conditioner.shape: expected two numbers, got {shape}")
    require("conditioner.shape[0]", shape[0], at_least=1, at_most=MOST_TOKENS)
    require("conditioner.shape[1]", shape[1], at_least=1, at_most=MOST_NUMBERS)
    if count * shape[0] * shape[1] > _LARGEST:
        raise ValueError(f"conditioner.shape: {count} prompts of {shape} are more than {_LARGEST} numbers")
