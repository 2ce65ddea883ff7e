"""The small parts of a page: elements, tables, lists and figures, in which all text is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from distbench.plain_text import printable


class Markup(str):
    """Text that is HTML already; every other string is escaped where it enters an element."""

    __slots__ = ()


NOTHING = Markup("")
_UNIT = re.compile(r"(?<=\d) (?=(?:%|×|s|ms|µs|GB/s|MB|GB)(?![\w/]))")
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_LONG_CELL = 24  # characters; from there on a cell of a table may have several lines
_EMPTY_ELEMENTS = ("br", "link", "meta")


def escaped(text: str) -> Markup:
    """Text that a browser shows as it is, whatever a host name holds; markup stays markup."""
    return text if isinstance(text, Markup) else Markup(html.escape(printable(text)))


def flowing(text: str) -> Markup:
    """A sentence: a number stays beside its unit, a flag is whole, a phase's name may be broken."""
    if isinstance(text, Markup):
        return text
    shown = _UNIT.sub("&nbsp;", escaped(text))
    return Markup(_FLAG.sub(r"<code>\g<0></code>", shown).replace("_", "_<wbr>"))


def joined(parts: Iterable[str], between: str = "") -> Markup:
    """The parts one after the other, each escaped where it is not markup."""
    return Markup(between.join(escaped(part) for part in parts))


def tag(name: str, *children: str, **attributes: str) -> Markup:
    """One element; `class_` is the attribute class, `aria_label` aria-label."""
    given = "".join(
        f' {attribute.rstrip("_").replace("_", "-")}="{html.escape(printable(value))}"'
        for attribute, value in attributes.items()
    )
    if name in _EMPTY_ELEMENTS:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(children)}</{name}>")


def paragraph(text: str, class_: str = "") -> Markup:
    """A paragraph; nothing where there is no text."""
    if not text:
        return NOTHING
    return tag("p", flowing(text), class_=class_) if class_ else tag("p", flowing(text))


def lead(text: str) -> Markup:
    """What a section begins with: its first sentence in large letters, the others below it."""
    first, end, others = text.partition(". ")
    return joined([paragraph(first + end.strip(), "lead"), paragraph(others, "more")])


def bullets(lines: Iterable[str], ordered: bool = False, class_: str = "") -> Markup:
    """A list; nothing where there is no line."""
    items = joined((tag("li", flowing(line)) for line in lines), "\n")
    if not items:
        return NOTHING
    name = "ol" if ordered else "ul"
    return tag(name, items, class_=class_) if class_ else tag(name, items)


def scrolling(content: str, label: str, class_: str = "scroll") -> Markup:
    """What may be wider than the page: it scrolls by itself, also by the keyboard."""
    return tag("div", content, class_=class_, role="region", aria_label=label, tabindex="0")


def table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = True
) -> Markup:
    """A table under its title, each row named by its first cell; `numbers` stand right."""
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    body = joined((_row(row) for row in rows), "\n")
    content = tag(
        "table",
        tag("thead", head),
        tag("tbody", body),
        class_="numbers" if numbers else "words",
        aria_label=title,
    )
    # Not a <caption>, which is as wide as its table and would scroll away with it.
    return joined([tag("p", title, class_="caption"), scrolling(content, title)])


def _row(cells: Sequence[str]) -> Markup:
    return tag("tr", tag("th", cells[0], scope="row"), *map(_cell, cells[1:]))


def _cell(text: str) -> Markup:
    return tag("td", text, class_="long") if len(text) > _LONG_CELL else tag("td", text)


def code(*lines: str) -> Markup:
    """Commands or a file's lines as they are."""
    text = joined(lines, "\n")
    return tag("pre", tag("code", text))


def section(identity: str, title: str, *parts: str) -> Markup:
    """A section that can be linked to."""
    heading = tag("h2", title, id=identity)
    return tag("section", heading, *parts, aria_labelledby=identity)
