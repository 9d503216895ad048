"""Peak memory of computations whose allocations are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from arlab.compare.memory import peak_memory

N = 1000
BYTES = 4 * N
WEIGHT = torch.ones(N, N)
CPU = torch.device("cpu")


def chain() -> Tensor:
    """Each sum lives beside the one it is made of, and no longer."""
    x = torch.ones(N)
    for _ in range(5):
        x = x + 1
    return x


def held_by_a_view() -> None:
    first = torch.ones(N)[:1]
    torch.ones(N)
    del first
    torch.ones(N)


def freed_before() -> None:
    torch.ones(3 * N)
    torch.ones(N)


def in_place() -> None:
    x = torch.ones(N)
    x.add_(1).mul_(2)
    torch.add(x, 1, out=x)


def given_out() -> None:
    torch.add(torch.ones(N), 1, out=torch.empty(0))


def of_numbers() -> Tensor:
    return torch.tensor(list(range(N)))


def of_weights() -> None:
    """Nothing is new but the product: views of what was there before are not, nor what is written into it."""
    (WEIGHT.t() @ WEIGHT[:, 0]).view(-1, 1)
    WEIGHT.mul_(1)


def elsewhere() -> Tensor:
    return torch.ones(N, device="meta")


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (chain, 2 * BYTES),
        (held_by_a_view, 2 * BYTES),
        (freed_before, 3 * BYTES),
        (in_place, BYTES),
        (given_out, 2 * BYTES),
        (of_numbers, 2 * BYTES),
        (of_weights, BYTES),
        (lambda: torch.ones(N).double(), 3 * BYTES),
        (lambda: torch.ones(N).split(10), BYTES),
        (lambda: [torch.ones(N) for _ in range(7)], 7 * BYTES),
        (lambda: torch.ones(N, dtype=torch.bool).expand(50, -1).reshape(-1), 51 * N),
        (elsewhere, 0),
        (lambda: None, 0),
    ],
    ids=lambda case: getattr(case, "__name__", str(case)),
)
@pytest.mark.parametrize("guard", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_peak_is_what_was_alive_at_once(run: Callable[[], object], expected: int, guard: type) -> None:
    with guard():
        assert peak_memory(run, CPU) == expected
        assert peak_memory(run, CPU) == expected


def test_what_is_kept_for_gradients_counts() -> None:
    """tanh keeps its output: three layers of it, where without gradients two are alive at once."""
    x = torch.ones(N, requires_grad=True)

    def run() -> Tensor:
        return x.tanh().tanh().tanh()

    assert peak_memory(run, CPU) == 3 * BYTES
    with torch.no_grad():
        assert peak_memory(run, CPU) == 2 * BYTES


class Recorded:
    """An accelerator's own record: 100 bytes are taken, 700 were once, a run takes 50 at most."""

    def __init__(self) -> None:
        self.now, self.peak, self.waited = 100, 700, 0

    def synchronize(self, device: torch.device) -> None:
        self.waited += 1

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.peak = self.now

    def memory_allocated(self, device: torch.device) -> int:
        return self.now

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.peak

    def run(self) -> None:
        self.peak = max(self.peak, self.now + 50)
        self.now += 20


def test_an_accelerator_is_asked_for_its_own_record(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Recorded()
    monkeypatch.setattr(torch, "get_device_module", lambda device: record)
    assert peak_memory(record.run, torch.device("cuda")) == 50
    assert record.waited == 2
