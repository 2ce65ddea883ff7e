from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from distbench.report.html_method import DEFINITIONS, definitions


class Balance(HTMLParser):
    """Counts elements that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_formula_is_whole_html() -> None:
    parser = Balance()
    parser.feed(definitions())
    parser.close()
    assert parser.open == []


@pytest.mark.parametrize(
    "said",
    [
        "algbw · 2(n−1) ÷ n",
        "nccl-tests",
        "Patarasuk &amp; Yuan 2009",
        "(X(p) ÷ p) ÷ (X(b) ÷ b)",
        "overlap = hidden ÷ T<sub>allreduce</sub>",
        "max<sub>i</sub> t<sub>i</sub>",
    ],
)
def test_the_formulas_and_their_sources_are_there(said: str) -> None:
    assert said in definitions()


def test_no_source_is_an_address() -> None:
    assert not re.search(r"https?:|//|href", definitions())
    assert len({item.name for item in DEFINITIONS}) == len(DEFINITIONS)
