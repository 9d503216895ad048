"""The table: its columns, its files read back, its numbers, and what a terminal takes."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re
from typing import Any

import pytest
from rich.console import Console

from arlab.compare.columns import Group, columns_of
from arlab.compare.config_differences import ABSENT, config_differences, without_config
from arlab.compare.figures_file import as_json
from arlab.compare.palette import look_of
from arlab.compare.record import Row
from arlab.compare.shown_numbers import interval_text, number, with_prefix
from arlab.compare.smoothing import smoothed, thinned
from arlab.compare.table import Table, table_of
from arlab.compare.table_files import NAMED, as_csv, as_markdown
from arlab.compare.terminal import show_table
from arlab.metrics.figure import Figure
from tests.compare import rows as made

ROWS = [
    made.row("raster"),
    made.row_of("next|scale <b>*", made.figures(1.4, steps=5), ordering="NextScale"),
    made.row("seeds", *(made.row_of("s", made.figures(1 + seed / 9)).members[0] for seed in range(3))),
]


@pytest.fixture(scope="module")
def table() -> Table:
    return table_of(ROWS)


def test_columns_stand_in_groups_each_with_its_meaning(table: Table) -> None:
    groups = [column.group for column in table.columns]
    assert groups == sorted(groups, key=list(Group).index)
    keys = [column.key for column in table.columns]
    assert keys[:4] == ["tokenizer_psnr", "tokenizer_rFID@1000", "FID@1000", "kid"]
    assert keys[-3:] == ["training_steps", "training_minutes", "training_flops"]
    assert all(column.what for column in table.columns)


def test_figures_of_unknown_names_are_shown_too_and_absent_ones_are_not() -> None:
    rows = [made.row("r", made.member(training=None, evaluation=made.evaluation(figures={"charm": made.figure(3)})))]
    keys = [column.key for column in columns_of(rows)]
    assert keys == ["tokenizer_psnr", "tokenizer_rFID@1000", "charm"]


def test_csv_holds_every_digit(table: Table) -> None:
    read = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [each["row"] for each in read] == [row.name for row in ROWS]
    for line, each in zip(table.lines, read, strict=True):
        for column, cell in zip(table.columns, line.cells, strict=True):
            assert cell.result is not None
            told = [each[f"{column.key}{end}"] for end in ("", "_low", "_high")]
            numbers = [cell.result.value, cell.result.low, cell.result.high]
            assert [float(text) if text else None for text in told] == numbers


def test_markdown_is_a_table_of_equally_many_cells_and_names_do_no_harm(table: Table) -> None:
    lines = as_markdown(table).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in rows]
    assert {len(each) for each in cells} == {len(NAMED) + len(table.columns)}
    assert cells[3][0].strip() == r"next\|scale &lt;b&gt;\*"
    fid = [column.key for column in table.columns].index("decoding_steps") + len(NAMED)
    assert cells[3][fid].strip() == "**5**"
    assert all(f"{each.letter}: " in as_markdown(table) for each in table.mismatches)


def test_json_holds_everything_and_is_json(table: Table) -> None:
    odd = made.row_of("odd", {"FID@1000": Figure(math.nan, None, made.PROTOCOL)})
    rows = [*ROWS, odd]
    read: dict[str, Any] = json.loads(
        as_json(rows, table_of(rows), title="t", command="c", written="now"), parse_constant=pytest.fail
    )
    assert [row["name"] for row in read["rows"]] == [row.name for row in rows]
    kept = read["rows"][0]["members"][0]["figures"]["FID@1000"]
    assert Figure.of_plain(kept) == ROWS[0].members[0].evaluation.figures["FID@1000"]
    assert read["rows"][2]["figures"]["kid"]["seeds"] == 3
    assert read["rows"][3]["members"][0]["figures"]["FID@1000"]["value"] is None
    assert read["mismatches"]
    assert read["versions"]["arlab"]


@pytest.mark.parametrize("width", [60, 100, 120, 200])
def test_a_terminal_gets_no_line_that_is_too_long(width: int) -> None:
    held = io.StringIO()
    show_table(Console(file=held, width=width, force_terminal=False), ROWS)
    lines = held.getvalue().splitlines()
    tables = lines[: next(number for number, line in enumerate(lines) if line.startswith("Bold:"))]
    assert max(map(len, tables)) <= width
    assert "…" not in "".join(tables)
    assert "kid" in held.getvalue().lower()


def test_a_terminal_shows_the_best_in_bold() -> None:
    held = io.StringIO()
    show_table(Console(file=held, width=200, force_terminal=True, color_system="standard"), [ROWS[0], ROWS[1]])
    assert "\x1b[1m4.00" in held.getvalue()


def test_parts_of_models_are_a_table_of_their_own_where_it_is_narrow() -> None:
    held = io.StringIO()
    show_table(Console(file=held, width=60, force_terminal=False), ROWS)
    tables = [lines for lines in re.split(r"\n\s*\n", held.getvalue()) if "─" in lines]
    assert tables[0].split()[1:4] == ["ordering", "head", "tokenizer"]
    assert "FID" not in tables[0]
    assert not any("ordering" in each for each in tables[1:])


def test_an_interval_to_one_side_is_not_shown_as_if_it_were_to_both() -> None:
    given = {"precision": dataclasses.replace(made.figure(0.0), low=0.0, high=0.2), "recall": made.figure(0.5, 0.1)}
    held = io.StringIO()
    rows = [made.row("r", made.member(evaluation=made.evaluation(figures=given)))]
    show_table(Console(file=held, width=200, force_terminal=False), rows)
    assert "0.00 (0.00–0.20)" in held.getvalue()
    assert "0.50 ±0.10" in held.getvalue()


# ---- numbers


@pytest.mark.parametrize(
    ("value", "half", "shown"),
    [
        (4.0, 0.2, ("4.00", "3.80 – 4.20")),
        (164.9, 0.05, ("164.90", "164.85 – 164.95")),
        (0.0123, 0.001, ("0.0123", "0.0113 – 0.0133")),
        (1234.5, 30, ("1,234", "1,204 – 1,264")),
        (0.0, 0.0, ("0", "0 – 0")),
        (2e-9, 1e-9, ("2e-09", "1e-09 – 3e-09")),
    ],
)
def test_digits_are_those_the_interval_bears_out(value: float, half: float, shown: tuple[str, str]) -> None:
    assert interval_text(value, value - half, value + half) == shown


def test_numbers_without_an_interval() -> None:
    assert interval_text(4.0, None, None) == ("4", "")
    # All of four digits, that they stand below each other.
    assert [interval_text(value, None, None)[0] for value in (23.7, 0.25, 1234.5)] == ["23.70", "0.2500", "1234"]
    assert [number(value) for value in (math.nan, math.inf, 1e6, 0.123456)] == ["–", "∞", "1,000,000", "0.1235"]
    told = [with_prefix(value) for value in (999.0, 999_999, 9.5e7, 1.26e13, 3e21)]
    assert told == ["999", "1.00 M", "95.0 M", "12.6 T", "3.00e+21"]
    assert with_prefix(9e7, whole=True) == "90 M"


def test_smoothing_keeps_a_level_and_thinning_the_last() -> None:
    assert smoothed([2.0] * 50) == pytest.approx([2.0] * 50)
    assert smoothed([]) == []
    noisy = [float(number % 2) for number in range(200)]
    assert max(smoothed(noisy)[50:-50]) < 0.6
    falling = [100.0 - number for number in range(100)]
    assert smoothed(falling) == pytest.approx(falling)
    holed = [1.0] * 100 + [math.nan, math.inf] + [1.0] * 100
    assert smoothed(holed) == pytest.approx([1.0] * 202)
    assert thinned([]) == []
    assert thinned(range(3)) == [0, 1, 2]
    assert thinned(range(5001))[-1] == 5000
    assert len(thinned(range(5001))) <= 600


def test_looks_differ_as_far_as_they_can() -> None:
    looks = [look_of(number) for number in range(28)]
    assert len({(look.colour, look.dash) for look in looks}) == 28


# ---- settings


def of_configs(*configs: dict[str, Any]) -> list[Row]:
    return [made.row(f"r{number}", made.member(config=config)) for number, config in enumerate(configs)]


def test_settings_that_differ_under_bare_names() -> None:
    rows = of_configs(
        made.config(),
        made.config("next_scale.NextScale", seed=1),
        made.config(seed=0),
    )
    found = {each.key: each for each in config_differences(rows)}
    assert found["model.ordering"].values == ("Raster", "NextScale", "Raster")
    assert found["model.ordering"].apart == (False, True, False)
    assert found["model.seed"].values == (ABSENT, "1", "0")
    assert set(found) == {"model.ordering", "model.seed"}


def test_lists_keywords_and_nested_components() -> None:
    rows = of_configs(
        {"a": [1, 2], "b": None, "c": [{"class_path": "x.One", "init_args": {"k": True}}], "d": {}},
        {"a": [1, 3], "b": False, "c": [{"class_path": "x.Two", "init_args": {"k": False}}], "d": {"e": 1}},
    )
    told = {each.key: each.values for each in config_differences(rows)}
    assert told == {
        "a": ("[1, 2]", "[1, 3]"),
        "b": ("null", "false"),
        "c.0": ("One", "Two"),
        "c.0.k": ("true", "false"),
        "d": ("{}", ABSENT),
        "d.e": (ABSENT, "1"),
    }


def test_seeds_of_a_row_are_told_together_and_equal_ones_left_out() -> None:
    def row(name: str, *seeds: int) -> Row:
        return made.row(name, *(made.member(config=made.config(seed=seed)) for seed in seeds))

    assert config_differences([row("a", 0, 1), row("b", 0, 1)]) == ()
    (found,) = config_differences([row("a", 0, 1), row("b", 0)])
    assert found.values == ("0, 1", "0")


def test_rows_without_a_configuration_are_named_and_set_nothing_apart() -> None:
    rows = of_configs(made.config(), {}, made.config())
    assert config_differences(rows) == ()
    assert without_config(rows) == ("r1",)
