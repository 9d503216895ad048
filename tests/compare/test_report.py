"""The report: one page that is whole, safe and asks nothing of the network, and the files beside it."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import io
import json
import math
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from arlab.compare.curve_charts import curve_charts
from arlab.compare.palette import look_of
from arlab.compare.record import Row
from arlab.compare.report import write_report
from arlab.compare.samples import affordable, samples
from arlab.compare.step_charts import step_charts
from tests.compare import rows as made

EVIL = "<script>alert(\"x\")</script> & $a_b$ 'q' _|*"
VOID = {"meta", "link", "img", "br", "wbr", "hr", "input"}


class Reader(html.parser.HTMLParser):
    """Keeps what is open, and everything that is named."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag not in VOID
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report(
    rows: list[Row], out: Path, title: str = "A title", command: str = "arlab compare a b"
) -> tuple[str, Reader]:
    write_report(rows, out, title=title, command=command)
    page = (out / "report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return page, reader


def bounded(name: str) -> Row:
    figures = {"nats_per_token_bound": made.figure(3, 0.1), "FID@1000": made.figure(5, 0.1)}
    return made.row(name, made.member(evaluation=made.evaluation(figures=figures, nats_by_step=None, head="FlowHead")))


ROWS = [made.row("raster"), made.row_of(EVIL, made.figures(1.4, steps=5), ordering="NextScale"), bounded("flow")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Reader]:
    out = tmp_path_factory.mktemp("report") / "out"
    page, reader = report(ROWS, out, title=f"Title {EVIL}", command=f"arlab compare '{EVIL}'")
    return out, page, reader


def test_the_page_is_one_document_that_loads_nothing(whole: tuple[Path, str, Reader]) -> None:
    _, page, reader = whole
    assert page.startswith("<!DOCTYPE html>")
    # Comments begin with two slashes as addresses do; what is embedded may hold them anywhere.
    plain = re.sub(r"(?m)^\s*//.*$|data:image/[a-z+]+;base64,[\w+/=]+", "", page)
    assert "//" not in plain
    for tag, attributes in reader.tags:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (tag, key, value)
    assert "@import" not in page
    assert "url(" not in page
    policy = next(each for tag, each in reader.tags if "content" in each and tag == "meta" and "http-equiv" in each)
    assert str(policy["content"]).startswith("default-src 'none'")


def test_links_within_the_page_have_their_ends_and_names_are_unique(whole: tuple[Path, str, Reader]) -> None:
    reader = whole[2]
    names = [each["id"] for _, each in reader.tags if "id" in each]
    assert len(names) == len(set(names))
    targets = {str(each["href"])[1:] for tag, each in reader.tags if tag == "a"}
    assert targets
    assert targets <= set(names)
    assert {each["aria-labelledby"] for tag, each in reader.tags if tag == "section"} <= set(names)


def test_names_are_text_and_nothing_else(whole: tuple[Path, str, Reader]) -> None:
    _, page, reader = whole
    assert sum(tag == "script" for tag, _ in reader.tags) == 1
    assert '<script>alert("x")' not in page
    assert EVIL in reader.text
    for image in (each["src"] for tag, each in reader.tags if tag == "img"):
        content = base64.b64decode(str(image).partition(",")[2])
        assert b"<script" not in content


def test_all_pictures_can_be_opened_and_are_described(whole: tuple[Path, str, Reader]) -> None:
    out, _, reader = whole
    for attributes in (each for tag, each in reader.tags if tag == "img"):
        assert attributes["alt"]
        if str(attributes["src"]).startswith("data:image/png"):
            Image.open(io.BytesIO(base64.b64decode(str(attributes["src"]).partition(",")[2]))).verify()
    names = {path.name for path in (out / "pictures").iterdir()}
    assert names == {"curves.png", "quality_cost.png", "samples.png", "strips.png", "per_step.png"}
    for name in names:
        assert min(Image.open(out / "pictures" / name).size) > 50


def test_the_table_can_be_sorted_by_numbers(whole: tuple[Path, str, Reader]) -> None:
    reader = whole[2]
    headings = [each for tag, each in reader.tags if tag == "th" and "data-column" in each]
    assert [int(str(each["data-column"])) for each in headings] == list(range(len(headings)))
    assert all(each["aria-sort"] == "none" for each in headings)
    first = {str(each.get("data-key")): each["data-first"] for each in headings}
    assert first["FID@1000"] == "ascending"
    assert first["recall"] == "descending"
    values = [float(str(each["data-value"])) for tag, each in reader.tags if tag == "td" and "data-value" in each]
    assert all(map(math.isfinite, values))


def test_rows_without_exact_nats_are_named_and_losses_stay_apart(whole: tuple[Path, str, Reader]) -> None:
    assert "Not shown, for want of exact nats: flow." in whole[2].text
    assert [group.names for group in curve_charts(ROWS)] == [("raster", EVIL), ("flow",)]
    names = [chart.title for line in curve_charts(ROWS)[0].lines for chart in line]
    assert names == [f"{name} by {by}" for name in ("train/loss", "val/nats per token") for by in _MEASURES]


_MEASURES = ("steps", "minutes", "training FLOPs")


def test_steps_of_different_tokenizers_have_charts_of_their_own() -> None:
    other = made.row("b", made.member(evaluation=made.evaluation(tokenizer_figures=made.tokenizer_figures(30))))
    assert len(step_charts([made.row("a"), other])) == 2
    assert step_charts([bounded("a")]) == ()


def test_files_beside_the_page(whole: tuple[Path, str, Reader]) -> None:
    out = whole[0]
    assert {path.name for path in out.iterdir()} == {"report.html", "table.md", "table.csv", "metrics.json", "pictures"}
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["command"] == f"arlab compare '{EVIL}'"


def test_equal_rows_give_equal_files(whole: tuple[Path, str, Reader], tmp_path: Path) -> None:
    report(ROWS, tmp_path, title=f"Title {EVIL}", command=f"arlab compare '{EVIL}'")
    date = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
    files = [path for path in sorted(whole[0].rglob("*")) if path.is_file()]
    assert len(files) == 9
    for path in files:
        again = tmp_path / path.relative_to(whole[0])
        assert date.sub(b"", path.read_bytes()) == date.sub(b"", again.read_bytes()), path.name


def test_nothing_to_show(tmp_path: Path) -> None:
    empty = made.evaluation(
        figures={}, tokenizer_figures={}, nats_by_step=None, tokens_by_step=(), machine={}, step=None
    )
    row = made.row("only", made.member(evaluation=empty, shown=made.nothing_shown(), training=None, config={}))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "samples.png").write_bytes(b"of an earlier report")
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    _, reader = report([row], tmp_path)
    assert "Samples" not in reader.text
    assert "Curves" not in reader.text
    assert not list((tmp_path / "pictures").iterdir())
    assert (tmp_path / "mine.txt").exists()


def test_data_without_classes_and_rows_without_pictures(tmp_path: Path) -> None:
    one = made.row("a", made.member(shown=made.shown(("",))))
    other = made.row("b", made.member(shown=made.nothing_shown()))
    _, reader = report([one, other], tmp_path)
    assert "no pictures" in reader.text


def test_many_rows_and_many_classes(tmp_path: Path) -> None:
    shown = made.shown(tuple(f"class {number}" for number in range(100)), pictures=2)
    rows = [made.row(f"row {number} " + "long" * 20, made.member(shown=shown, training=None)) for number in range(12)]
    _, reader = report(rows, tmp_path)
    assert sum(tag == "img" for tag, _ in reader.tags) > 100 * 13


def test_large_images_do_not_make_a_page_that_cannot_be_opened() -> None:
    large = dataclasses.replace(
        made.shown(tuple("abcdefgh")),
        grid_KPCHW=made.noise(8, 8, 3, 512, 512),
        real_KPCHW=made.noise(8, 8, 3, 512, 512),
    )
    found = samples([made.row("a", made.member(shown=large))])
    assert len(found) == 8
    assert 1 <= affordable(found * 100) < 800


def test_curves_of_one_point_of_nothing_and_of_nan(tmp_path: Path) -> None:
    curves = (
        made.curve(count=1),
        dataclasses.replace(made.curve("val/loss"), steps=(), seconds=(), values=()),
        dataclasses.replace(made.curve("val/nats_per_token", count=2), values=(math.nan, math.inf)),
    )
    report([made.row("a", made.member(training=made.training(curves=curves, flops_per_step=None)))], tmp_path)


def test_a_loss_that_was_logged_once_is_a_point() -> None:
    for count, markers in ((1, ["None", look_of(0).marker]), (2, ["None", ""])):
        training = made.training(curves=(made.curve("train/loss", count=count),))
        axes = Figure().subplots()
        curve_charts([made.row("a", made.member(training=training))])[0].lines[0][0].draw(axes)
        assert [line.get_marker() for line in axes.get_lines()] == markers


def test_what_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    for rows, told in (([], "one at least"), ([made.row(), made.row()], "raster twice"), ([Row("a", ())], "no run")):
        with pytest.raises(ValueError, match=told):
            write_report(rows, tmp_path, title="", command="")
    assert not list(tmp_path.iterdir())
