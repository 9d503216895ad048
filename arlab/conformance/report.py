"""What came of checking components, as tables to read: on a terminal, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from arlab.conformance.check import Finding, Report, Verdict
from arlab.conformance.law import shown

_STYLES = {Verdict.OK: "green", Verdict.REFUSED: "yellow", Verdict.FAILED: "bold red", Verdict.NOT_TRIED: "dim"}


def show(console: Console, reports: Sequence[Report], *, laws: bool) -> None:
    """Print what was found.

    Args:
        console: where to.
        reports: of the components.
        laws: a table of laws for each component, rather than one of components.
    """
    for report in reports if laws else ():
        console.print(_title(report))
        if report.laws:
            console.print(_table_of_laws(report))
        console.print(_what_is_wrong(report))
    if not laws:
        console.print(_table_of_components(reports))
        for report in reports:
            if report.refusals or not report.holds:
                console.print(_title(report))
                console.print(_what_is_wrong(report))
    console.print(_summary(reports))


def markdown(reports: Sequence[Report]) -> str:
    """A table of components and grids for each kind."""
    lines: list[str] = []
    for kind in dict.fromkeys(report.kind for report in reports):
        own = [report for report in reports if report.kind == kind]
        grids = own[0].grids
        lines += [f"| {kind.lower()} | laws | {' | '.join(map(shown, grids))} |", "|---|" + "---|" * (len(grids) + 1)]
        for report in own:
            cells = " | ".join(report.on(grid).value for grid in report.grids)
            lines.append(f"| {report.name} | {len(report.laws)} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def _title(report: Report) -> Text:
    return Text.assemble((report.name, "bold"), f"  {report.kind.lower()}")


def _table_of_laws(report: Report) -> Padding:
    table = _table("law", [shown(grid) for grid in report.grids])
    table.add_column("what it says", ratio=1, style="dim")
    for name, statement in report.laws:
        table.add_row(name, *(_cell(report.verdicts[name, grid]) for grid in report.grids), statement)
    return Padding(table, (0, 0, 0, 1))


def _table_of_components(reports: Sequence[Report]) -> Group:
    tables: list[RenderableType] = []
    for kind in dict.fromkeys(report.kind for report in reports):
        own = [report for report in reports if report.kind == kind]
        grids = next((report.grids for report in own if report.grids), ())
        table = _table(kind.lower(), [shown(grid) for grid in grids])
        table.add_column("laws", justify="right")
        for report in own:
            cells = [_cell(report.on(grid)) for grid in report.grids] or [_cell(Verdict.FAILED)] * len(grids)
            table.add_row(report.name, *cells, str(len(report.laws)))
        tables += [table, Text("")]
    return Group(*tables)


def _table(first: str, columns: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def _cell(verdict: Verdict) -> Text:
    return Text(verdict.value, style=_STYLES[verdict])


def _what_is_wrong(report: Report) -> Text:
    text = Text()
    for why in dict.fromkeys(report.refusals.values()):
        grids = ", ".join(shown(grid) for grid, told in report.refusals.items() if told == why)
        text.append(f"  refused on {grids}: ", "yellow").append(f"{why}\n")
    if report.refused_everywhere:
        text.append("  FAILED: ", "bold red").append(
            "it takes none of these grids; name one that it takes: --grid HxW\n"
        )
    for finding in report.findings:
        text.append(f"  FAILED {finding.law}", "bold red").append(f"{_where(finding)}: {finding.meaning}\n")
        text.append(f"    the law: {finding.statement}\n", "dim")
    return text


def _where(finding: Finding) -> str:
    parts = [f"on {shown(finding.grid)}" if finding.grid else "", finding.told]
    inside = ", ".join(part for part in parts if part)
    return f" {inside}" if inside else ""


def _summary(reports: Sequence[Report]) -> Text:
    wrong = [report.name for report in reports if not report.holds]
    if wrong:
        return Text(f"laws are broken by {', '.join(wrong)}", "bold red")
    refusing = [report for report in reports if report.refusals]
    taken = [f"{len(each.grids) - len(each.refusals)} of {len(each.grids)} grids" for each in refusing]
    if len(reports) == 1 and refusing:
        return Text(f"all laws hold on {taken[0]}: {', '.join(_counted(reports))}", "bold green")
    but = ", ".join(f"{report.name} on {count}" for report, count in zip(refusing, taken, strict=True))
    return Text(f"all laws hold: {', '.join(_counted(reports))}{f'; {but}' if but else ''}", "bold green")


def _counted(reports: Sequence[Report]) -> Iterator[str]:
    for kind in dict.fromkeys(report.kind for report in reports):
        count = sum(report.kind == kind for report in reports)
        yield f"{count} {kind.lower()}{'' if count == 1 else 's'}"
