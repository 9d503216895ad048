"""The papers that documentation names, in the form 'Title (Nickname), arXiv NNNN.NNNNN'."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CITED = re.compile(r"(?P<before>.*?), arXiv (?P<number>\d{4}\.\d{4,5})")
_NICKNAME = re.compile(r"^(?P<title>.*\S)\s*\((?P<nickname>[^()]+)\)$")


@dataclass(frozen=True)
class Paper:
    """A paper as it is cited in the documentation; nothing is added from elsewhere.

    Attributes:
        title: without the nickname.
        number: of arXiv.
        nickname: what everyone calls it; or None.
    """

    title: str
    number: str
    nickname: str | None = None

    @property
    def key(self) -> str:
        """A citation key: the nickname, or the title's first words (up to a colon)."""
        words = re.findall(r"[a-z0-9]+", (self.nickname or self.title.split(":")[0]).lower())
        return "-".join(words[:4])

    @property
    def year(self) -> int:
        """Of its first version, which the number begins with: 2404.02905 is of April 2024."""
        return 2000 + int(self.number[:2])

    def bibtex(self) -> str:
        """A BibTeX entry of what is known: valid, but without authors; ``key`` is what styles sort and label by."""
        return (
            f"@misc{{{self.key},\n"
            f"  title = {{{{{self.title}}}}},\n"
            f"  year = {{{self.year}}},\n"
            f"  eprint = {{{self.number}}},\n"
            "  archivePrefix = {arXiv},\n"
            f"  url = {{https://arxiv.org/abs/{self.number}}},\n"
            f"  key = {{{self.nickname or self.title}}},\n"
            "}"
        )

    def __str__(self) -> str:
        name = self.title if self.nickname is None else f"{self.title} ({self.nickname})"
        return f"{name}, arXiv {self.number}"

    @staticmethod
    def fills(paragraph: str) -> bool:
        """Whether a paragraph is nothing but citations."""
        return bool(papers_in(paragraph)) and not re.sub(
            "|".join(re.escape(str(paper)) for paper in papers_in(paragraph)), "", " ".join(paragraph.split())
        ).strip(" .;")


def papers_in(text: str) -> list[Paper]:
    """All papers a text names, in order, each once.

    A citation fills a paragraph, follows another one, or stands in brackets (after a semicolon too).
    """
    found: dict[str, Paper] = {}
    for paragraph in re.split(r"\n\s*\n", text):
        for match in _CITED.finditer(" ".join(paragraph.split())):
            name = _after_open_bracket(match["before"]).split("; ")[-1].strip(" .;),")
            name += ")" * (name.count("(") - name.count(")"))
            parts = _NICKNAME.match(name)
            paper = Paper(parts["title"], match["number"], parts["nickname"]) if parts else Paper(name, match["number"])
            found.setdefault(paper.number, paper)
    return list(found.values())


def _after_open_bracket(text: str) -> str:
    """What follows the last bracket that is not closed again."""
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += (text[place] == ")") - (text[place] == "(")
        if depth < 0:
            return text[place + 1 :]
    return text
