"""The first law that is told is the one that is broken, in the smallest case; refusals and errors are told as such."""

from __future__ import annotations

import io
import re

import pytest
import torch
from rich.console import Console
from torch import Tensor

from arlab.configurable import Configurable
from arlab.conformance.check import Report, Verdict, check, check_class
from arlab.conformance.families import FAMILIES, family_of
from arlab.conformance.head_laws import HEAD_LAWS
from arlab.conformance.laws import LAWS
from arlab.conformance.pyramid_laws import PYRAMID_LAWS
from arlab.conformance.report import markdown, show
from arlab.conformance.trials import RefusedError, trials
from arlab.orderings.raster import Raster
from arlab.orderings.traversal import Traversal
from tests.conformance import broken as b
from tests.conformance.test_laws import Broken, Forgets, Shortsighted

GRIDS = ((1, 4), (2, 3))
BROKEN = (
    (b.EndsEarly(), "levels", r"the last level is 1x1, the latent 1x2"),
    (b.Shrinks(), "levels", r"level 1 is 1x1, coarser than 1x2 before"),
    (b.SharesTwice(), "shares", r"sum to something 1\.0e\+00 off the latent"),
    (b.Loses(), "round_trip", r"split and put back, a latent is .* of its size off in float64"),
    (b.AddsUpWrong(), "contributions", r"the contributions of 1 levels sum to something"),
    (b.LeadsAway(), "nearer", r"level 1 brings the canvas farther from the latent"),
    (b.MixesLatents(), "images_apart", r"level 0 of latent 1 is another when it is split alone"),
    (b.Detached(), "gradients", r"the first level has no gradient to the latent"),
    (b.Unwritable(), "rebuilt", r"cannot be rebuilt from its record: a constructor argument of type"),
    (b.HasIdleWeights(), "loss_reaches_all", r"no gradient reaches its weight idle\.weight"),
    (b.NeverLearns(), "loss_reaches_all", r"the loss of token \(0, 0\) is not finite"),
    (b.Unnormalised(), "sums_to_one", r"the probabilities of all 2 images sum to"),
    (b.Gauss(scale=2.0), "sums_to_one", r"the density of token \(0, 0\) integrates to 2\.0000 over its values"),
    (b.CountsDouble(), "likelihood_is_the_loss", r"the loss of token .* is .*, minus its log-probability"),
    (b.Gauss(above=1.0), "bounds", r"the likelihood is known, but its bound is another"),
    (b.BoundsTogether(), "bounds", r"the bound of image 1 is another when the image is alone"),
    (b.Gauss(spread=2.0), "draws_what_it_says", r"is below .* with probability .*, but in .* of 3000 draws"),
    (b.DrawsGlobally(), "draws_apart", r"torch's global random numbers"),
    (b.SharesNoise(), "draws_apart", r"of sample 1 is another when the sample is drawn alone"),
    (b.DrawsTooFlat(), "draws_what_it_says", r"is code 0 with probability .*, but in .* of 3000 draws"),
    (b.GuidesTooMuch(), "guidance_of_one", r"with a guidance scale of 1 token .* is another than without"),
    (b.IgnoresGuidance(), "guidance_of_one", r"guidance changes nothing"),
    (b.NeverGreedy(), "greedy", r"at temperature 0 token .* depends on the seed"),
    (b.CountsFromOne(), "tokens_are_told", r"codes"),
    (b.LooksUpWrong(), "tokens_lead_back", r"the map of its tokens and what the decoder gets differ"),
)


def checked(component: Configurable, grids: tuple[tuple[int, ...], ...] = GRIDS) -> Report:
    family = family_of(type(component))
    assert family is not None
    return check(component, family, grids)


@pytest.mark.parametrize(("component", "law", "message"), BROKEN, ids=lambda value: type(value).__name__)
def test_the_first_law_told_is_the_broken_one(component: Configurable, law: str, message: str) -> None:
    report = checked(component)
    assert not report.holds
    assert report.findings[0].law == law
    assert re.search(message, report.findings[0].meaning), report.findings[0].meaning


def test_every_law_is_broken_by_something() -> None:
    told = {law for _, law, _ in BROKEN}
    assert {law.__name__ for law in (*PYRAMID_LAWS, *HEAD_LAWS)} <= told


def test_a_sound_continuous_head_obeys_them() -> None:
    report = checked(b.Gauss())
    assert report.holds, report.findings


def test_the_smallest_case_is_told() -> None:
    finding = checked(Forgets(), ((3, 3), (2, 3))).findings[0]
    assert (finding.law, finding.grid, finding.told) == ("partition", (1, 2), "no condition slots")
    # Two layers that see one step back each reach three steps back: it takes five to miss one.
    finding = checked(Shortsighted(), ((3, 3),)).findings[0]
    assert finding.law == "no_leak"
    assert finding.grid == (2, 3)


class Square(Traversal):
    """Counts one side twice."""

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        return list(torch.arange(grid[0] ** 2).split(1))


class Picky(Traversal):
    """Takes two axes."""

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        if len(grid) != 2:
            raise ValueError(f"ordering: Picky walks two axes, got {grid}")
        return list(torch.arange(grid[0] * grid[1]).split(1))


class Stumbles(Traversal):
    """Raises on two rows."""

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        if grid[0] == 2:
            raise IndexError("stumbled")
        return list(torch.arange(torch.Size(grid).numel()).split(1))


class Unpacks(Traversal):
    """Stumbles over one axis."""

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        h, w = grid
        return list(torch.arange(h * w).split(1))


class NumbersItsWays(Broken):
    """Gives a number where offsets are asked for."""

    def directions(self, layout: object) -> list[tuple[int, ...]] | None:
        return 1  # type: ignore[return-value]


class Halves(Traversal):
    """Leaves out the last cell; of one cell nothing but an empty group is left."""

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        count = torch.Size(grid).numel()
        return list(torch.arange(count - 1).split(1)) if count > 1 else [torch.arange(0)]


class Endless(Broken):
    """Goes on and on."""

    def predicted(self, layout: object) -> list[int]:
        return [0] * 10_000


class Demanding(Traversal):
    """Has no defaults.

    Args:
        number: of something.
    """

    def __init__(self, *, number: int) -> None:
        self.number = number

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        raise NotImplementedError


def test_groups_that_are_no_partition_are_no_refusal() -> None:
    report = checked(Square(), ((2, 2), (3, 2), (2, 3)))
    assert [report.on(grid) for grid in report.grids] == [Verdict.OK, Verdict.FAILED, Verdict.FAILED]
    assert report.verdicts["declared", (2, 3)] is Verdict.NOT_TRIED
    # As on 3x2; that on 1x2 a token is missing is another mistake.
    assert report.findings[0].grid == (2, 1)
    assert report.findings[0].meaning == "step 2 predicts token 2, but there are 2, 0 to 1"


def test_a_refusal_is_no_failure_unless_nothing_is_taken() -> None:
    report = checked(Picky(), ((2, 2), (5,)))
    assert report.holds
    assert report.on((5,)) is Verdict.REFUSED
    assert report.refusals == {(5,): "ordering: Picky walks two axes, got (5,)"}
    nothing = checked(Picky(), ((4,), (5,)))
    assert nothing.refused_everywhere
    assert not nothing.holds


def test_an_error_is_told_with_the_line_of_the_component() -> None:
    finding = checked(Stumbles(), ((2, 3),)).findings[0]
    assert finding.law == "partition"
    assert finding.grid == (2, 1)
    line = Stumbles.groups.__code__.co_firstlineno + 2
    assert finding.meaning == f"it raises IndexError: stumbled (test_check.py, line {line})"


def test_an_error_of_python_is_no_refusal() -> None:
    report = checked(Unpacks(), ((2, 2), (5,)))
    assert [report.on(grid) for grid in report.grids] == [Verdict.OK, Verdict.FAILED]
    line = Unpacks.groups.__code__.co_firstlineno + 1
    assert report.findings[0].meaning.startswith("it raises ValueError: not enough values to unpack")
    assert report.findings[0].meaning.endswith(f"(test_check.py, line {line})")
    failed = next(each for each in trials([Unpacks]) if each.grid == (5,))
    with pytest.raises(ValueError, match="not enough values to unpack") as caught:
        failed.run()
    assert not isinstance(caught.value, RefusedError)


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ([0, 1], "a list whose item 0 is a int; it must be a list of tensors"),
        ([torch.zeros(1, 2)], "a list whose item 0 is a torch.float32 tensor of shape (1, 2)"),
        (None, "groups() returns a NoneType"),
    ],
)
def test_groups_of_another_kind_are_named(groups: list[Tensor], told: str) -> None:
    class Returns(Raster):
        def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
            return groups

    finding = checked(Returns(), ((1, 2),)).findings[0]
    assert finding.law == "partition"
    assert told in finding.meaning


def test_what_arlab_cannot_use_is_told_as_returned() -> None:
    finding = checked(NumbersItsWays(), ((1, 2),)).findings[0]
    assert finding.law == "declared"
    assert finding.meaning.startswith("arlab fails on what a method of it returned: TypeError: ")


def test_the_smallest_case_is_broken_in_the_same_way() -> None:
    finding = checked(Halves(), ((2, 3), (3, 3))).findings[0]
    # On one cell it has an empty group as well, which is another mistake.
    assert (finding.grid, finding.meaning) == ((1, 2), "token (0, 1) is never predicted")


def test_the_last_line_counts_the_grids_that_are_taken() -> None:
    console = Console(width=140, file=io.StringIO(), record=True)
    show(console, [checked(Picky(), ((1, 2), (3,)))], laws=True)
    assert "all laws hold on 1 of 2 grids: 1 ordering" in console.export_text()
    show(console, [checked(Raster(), ((1, 2),)), checked(Picky(), ((1, 2), (3,)))], laws=True)
    assert "all laws hold: 2 orderings; Picky on 1 of 2 grids" in console.export_text()


def test_steps_without_end_are_told() -> None:
    finding = checked(Endless(), ((1, 3),)).findings[0]
    assert finding.law == "partition"
    assert "more than 18 steps" in finding.meaning


def test_what_has_no_defaults_is_told() -> None:
    report = check_class(Demanding, FAMILIES[0])
    assert [finding.law for finding in report.findings] == ["defaults"]
    assert "arlab check Demanding number=VALUE" in report.findings[0].meaning
    assert not report.holds


def test_markdown() -> None:
    assert markdown([checked(Raster(), ((1, 2), (3,))), checked(Picky(), ((1, 2), (3,)))]).splitlines() == [
        "| ordering | laws | 1x2 | 3 |",
        "|---|---|---|---|",
        f"| Raster | {len(LAWS)} | ok | ok |",
        f"| Picky | {len(LAWS)} | ok | refused |",
    ]
