"""What was not measured alike is marked and explained, and does not rank."""

from __future__ import annotations

import dataclasses

import pytest

from arlab.compare.mismatches import SEEDS, Mismatch, mismatches
from arlab.compare.record import Member, Row
from arlab.compare.table import table_of
from arlab.metrics.figure import Figure
from tests.compare import rows as made


def unguided(name: str) -> Row:
    protocol = dataclasses.replace(made.PROTOCOL, guidance_scale=1.0)
    return made.row_of(name, made.figures(0.1, protocol=protocol))


def about(found: tuple[Mismatch, ...], column: str) -> list[Mismatch]:
    return [each for each in found if column in each.columns]


def test_equal_rows_differ_in_nothing() -> None:
    assert mismatches([made.row("a"), made.row("b")]) == ()


def test_a_row_of_another_protocol_is_marked_explained_and_not_ranked() -> None:
    rows = [made.row("a"), made.row_of("c", made.figures(2.0)), unguided("b")]
    (found,) = about(mismatches(rows), "FID@1000")
    assert (found.letter, found.rows, found.text) == ("a", ("b",), "guidance_scale: 1.0 against 2.0")
    assert "kid" in found.columns
    table = table_of(rows)
    number = [column.key for column in table.columns].index("FID@1000")
    cells = [line.cells[number] for line in table.lines]
    assert [cell.marks for cell in cells] == ["", "", "a"]
    # b has the lowest FID by far, under another protocol.
    assert [cell.bold for cell in cells] == [True, False, False]


def test_a_share_of_all_images_ranks_though_its_interval_is_taken_otherwise() -> None:
    usual, sure = (dataclasses.replace(made.PROTOCOL, interval=how) for how in ("over random halves", "Wilson's"))
    all_right = Figure(1.0, None, sure, 0.99, 1.0)
    rows = [
        made.row_of("a", {**made.figures(protocol=usual), "agreement": all_right}),
        made.row_of("b", made.figures(protocol=usual)),
    ]
    assert mismatches(rows) == ()
    table = table_of(rows)
    number = [column.key for column in table.columns].index("agreement")
    assert [line.cells[number].bold for line in table.lines] == [True, False]


def test_of_two_that_differ_neither_is_bold() -> None:
    table = table_of([made.row("a"), unguided("b")])
    number = [column.key for column in table.columns].index("FID@1000")
    assert [line.cells[number].bold for line in table.lines] == [False, False]
    assert [line.cells[number].marks for line in table.lines] == ["", "a"]


def test_digests_are_cut_short() -> None:
    protocol = dataclasses.replace(made.PROTOCOL, feature_hash="f" * 64)
    rows = [made.row("a"), made.row_of("b", made.figures(protocol=protocol))]
    assert about(mismatches(rows), "kid")[0].text == "feature_hash: ffffffff against 01234567"


def test_steps_of_training_and_its_cost() -> None:
    rows = [made.row("a"), made.row("b"), made.row("c", made.member(training=made.training(steps=1800)))]
    found = mismatches(rows)
    (steps,) = about(found, "training_steps")
    assert (steps.rows, steps.text) == (("c",), "steps: 1,800 against 900")
    (cost,) = about(found, "training_flops")
    assert cost.rows == ()
    assert cost.text == "trainings differ in cost: 12.6 TFLOP (a) to 25.2 TFLOP (c), 2 times as much"


def test_tokenizers_that_differ_are_told_and_nats_rank_within_them() -> None:
    def row(name: str, psnr: float, scale: float) -> Row:
        return made.row_of(name, made.figures(scale), tokenizer_figures=made.tokenizer_figures(psnr))

    rows = [row("a", 21, 1.0), row("b", 21, 1.2), row("c", 25, 2.0), row("d", 25, 1.5)]
    (found,) = about(mismatches(rows), "nats_per_token")
    assert found.rows == ()
    assert "VQTokenizer of 21.00 dB, VQTokenizer of 25.00 dB" in found.text
    table = table_of(rows)
    number = [column.key for column in table.columns].index("nats_per_token")
    assert [line.cells[number].bold for line in table.lines] == [True, False, False, True]
    assert table.heading_marks[number] == found.letter


def test_rows_of_other_tokenizers_do_not_rank_in_nats() -> None:
    table = table_of(
        [made.row_of(name, made.figures(scale), tokenizer_sha256=name) for name, scale in (("a", 1), ("b", 2))]
    )
    number = [column.key for column in table.columns].index("nats_per_token")
    assert not any(line.cells[number].bold for line in table.lines)


def test_speed_on_other_threads_is_marked_quality_is_not() -> None:
    other = made.row_of("b", made.figures(), machine={**made.MACHINE, "threads": 1})
    found = mismatches([made.row("a"), other])
    assert about(found, "latency")[0].text == "machine's threads: 1 against 2"
    assert not about(found, "kid")


def test_figures_of_other_numbers_of_images_are_other_columns() -> None:
    rows = [made.row_of("a", {"FID@1000": made.figure(1, 0.1)}), made.row_of("b", {"FID@500": made.figure(1, 0.1)})]
    (found,) = about(mismatches(rows), "FID@500")
    assert found.text == "FID@1000 and FID@500 are different figures and do not compare"


def test_seeds_beside_a_single_run() -> None:
    def member(scale: float) -> Member:
        return made.row_of("s", made.figures(scale)).members[0]

    found = mismatches([made.row("a", member(1.0), member(1.1)), made.row("b")])
    assert about(found, SEEDS)[0].rows == ("b",)
    assert table_of([made.row("a", member(1.0), member(1.1)), made.row("b")]).lines[1].seeds_marks == "a"


def test_runs_of_one_row_that_were_not_measured_alike() -> None:
    row = made.row("a", made.member(), unguided("b").members[0])
    (found,) = about(mismatches([row, made.row("c")]), "kid")
    assert (found.rows, found.text) == (("a",), "its own runs differ: guidance_scale: 1.0 against 2.0")


@pytest.mark.parametrize(("drawn", "marked"), [(1, False), (2, True)])
def test_members_are_drawn_with_seeds_of_their_own(drawn: int, marked: bool) -> None:
    def member(trained: int, seed: int) -> Member:
        protocol = dataclasses.replace(made.PROTOCOL, seed=seed)
        found = made.row_of("s", made.figures(protocol=protocol)).members[0]
        return dataclasses.replace(found, seed=trained)

    found = mismatches([made.row("a", member(0, 0), member(1, drawn)), made.row("b", member(0, 0), member(1, 1))])
    assert bool(about(found, "kid")) is marked


def test_letters_go_on_after_z() -> None:
    rows = [made.row("a")] + [
        made.row_of(f"r{seed}", made.figures(protocol=dataclasses.replace(made.PROTOCOL, seed=seed)))
        for seed in range(1, 31)
    ]
    letters = [each.letter for each in mismatches(rows)]
    assert letters[:2] == ["a", "b"]
    assert letters[24:27] == ["z", "aa", "ab"]
    assert len(set(letters)) == 30
