from __future__ import annotations

import torch

from arlab.rng import BatchRng, Noise, SampleRng, mix_seed


def test_seeds_are_mixed() -> None:
    seeds = {mix_seed(a, b) for a in range(50) for b in range(50)}
    assert len(seeds) == 2500
    assert mix_seed(3, 4) != mix_seed(4, 3)
    assert mix_seed(3) != mix_seed(3, 0)
    assert all(0 <= seed < 2**63 for seed in (*seeds, mix_seed(-1), mix_seed(2**64 + 5)))
    # Neighbouring seeds differ in about half of their bits.
    flips = [bin(mix_seed(seed, 1) ^ mix_seed(seed + 1, 1)).count("1") for seed in range(200)]
    assert 28 < sum(flips) / len(flips) < 35


def test_batch_stream_is_reproducible() -> None:
    first, second = BatchRng(5, 3), BatchRng(5, 3)
    assert torch.equal(first.uniform(4), second.uniform(4))
    assert torch.equal(first.normal(2, 2), second.normal(2, 2))
    assert first.uniform().shape == (3,)
    assert not torch.equal(BatchRng(5, 3).uniform(4), BatchRng(6, 3).uniform(4))


def test_a_samples_stream_does_not_depend_on_its_batch() -> None:
    together = SampleRng([7, 8, 9])
    alone = SampleRng([8])
    for shape in ((4,), (2, 3)):
        assert torch.equal(together.uniform(*shape)[1], alone.uniform(*shape)[0])
        assert torch.equal(together.normal(*shape)[1], alone.normal(*shape)[0])
    assert torch.equal(together.permutation(6)[1], alone.permutation(6)[0])


def test_permutations_are_uniform() -> None:
    number = 24_000
    drawn = BatchRng(0, number).permutation(4)
    assert torch.equal(drawn.sort(-1).values, torch.arange(4).expand(number, -1))
    _, count = drawn.unique(dim=0, return_counts=True)
    assert len(count) == 24
    assert ((count - number / 24).abs() < 5 * (number / 24) ** 0.5).all()


def test_noise_belongs_to_sample_and_token() -> None:
    noise = Noise([3, 4], 6)
    every = torch.arange(6)
    uniform, normal = noise.uniform(every), noise.normal(every, 5)
    assert (uniform.shape, normal.shape) == ((2, 6), (2, 6, 5))
    # In any order, any batch, any number of tokens at once.
    some = torch.tensor([[4, 1], [0, 5]])
    assert torch.equal(noise.uniform(some), uniform.gather(1, some))
    assert torch.equal(noise.normal(some, 5)[1, 0], normal[1, 0])
    assert torch.equal(Noise([4], 6).uniform(every)[0], uniform[1])
    assert torch.equal(Noise([9, 4], 6).normal(every, 5)[1], normal[1])


def test_draws_for_the_same_token_differ() -> None:
    noise, every = Noise([3], 50), torch.arange(50)
    first, second = noise.uniform(every), noise.uniform(every, draw=1)
    assert not torch.isclose(first, second).any()
    assert torch.equal(noise.uniform(every), first)
    assert not torch.equal(noise.normal(every, 2), noise.normal(every, 2, draw=1))


def test_noise_is_distributed_as_it_says() -> None:
    every = torch.arange(20_000)
    noise = Noise([1], 20_000)
    uniform, normal = noise.uniform(every), noise.normal(every, 1)
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1
    assert abs(float(uniform.mean()) - 0.5) < 5 * (1 / 12 / 20_000) ** 0.5
    assert abs(float(normal.mean())) < 5 / 20_000**0.5
    assert abs(float(normal.var()) - 1) < 5 * (2 / 20_000) ** 0.5
