from __future__ import annotations

import pytest

from distbench.report.html_parts import (
    NOTHING,
    Markup,
    bullets,
    code,
    escaped,
    flowing,
    joined,
    lead,
    paragraph,
    section,
    table,
    tag,
)

HOSTILE = {
    "<script>alert(1)</script>": "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\"a\" & 'b'": "&quot;a&quot; &amp; &#x27;b&#x27;",
    "\x1b[2J": "?[2J",
    "$\\frac{1}{2}$": "$\\frac{1}{2}$",
    "abc\u202e\u2066def": "abc??def",
    "a\nb\x00c": "a?b?c",
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_text_is_escaped_wherever_it_enters(text: str, shown: str) -> None:
    assert escaped(text) == shown
    assert tag("p", text) == f"<p>{shown}</p>"
    assert tag("p", title=text) == f'<p title="{shown}"></p>'
    assert f">{shown}</td>" in table("t", ("a", "b"), [("first", text)])
    assert f'<th scope="row">{shown}</th>' in table("t", ("a",), [(text,)])
    assert f'<th scope="col">{shown}</th>' in table("t", (text,), [])
    assert f'<p class="caption">{shown}</p>' in table(text, ("a",), [])
    assert f'aria-label="{shown}"' in table(text, ("a",), [])
    assert bullets([text]) == f"<ul><li>{shown}</li></ul>"
    assert code(text) == f"<pre><code>{shown}</code></pre>"
    assert joined([text, Markup("<br>")]) == f"{shown}<br>"


def test_markup_is_not_escaped_twice() -> None:
    assert tag("p", tag("b", "1 < 2")) == "<p><b>1 &lt; 2</b></p>"
    assert escaped(escaped("<")) == "&lt;"


def test_the_first_sentence_leads() -> None:
    assert lead("One 1.5 % more. Two. Three.") == (
        '<p class="lead">One 1.5&nbsp;% more.</p><p class="more">Two. Three.</p>'
    )
    assert lead("Only one.") == '<p class="lead">Only one.</p>'
    assert lead("") == NOTHING


def test_what_is_empty_is_left_out() -> None:
    assert paragraph("") == NOTHING
    assert bullets([]) == NOTHING


def test_attributes_are_spelled_as_html_does() -> None:
    made = tag("meta", http_equiv="x", class_="y", aria_label="z", name_="n")
    assert made == '<meta http-equiv="x" class="y" aria-label="z" name="n">'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("train_step", "train_<wbr>step"),
        ("4.3 % of 12 ms or 1.5 GB/s", "4.3&nbsp;% of 12&nbsp;ms or 1.5&nbsp;GB/s"),
        ("6 steps", "6 steps"),
        ("give --steps 20", "give <code>--steps</code> 20"),
        ("a--b <--x>", "a--b &lt;<code>--x</code>&gt;"),
    ],
)
def test_sentences_flow(text: str, shown: str) -> None:
    assert flowing(text) == shown
    assert paragraph(text) == f"<p>{shown}</p>"
    assert bullets([text]) == f"<ul><li>{shown}</li></ul>"


def test_a_long_cell_may_have_several_lines() -> None:
    assert '<td class="long">' in table("t", ("a", "b"), [("1", "x" * 25)])
    assert "<td>" in table("t", ("a", "b"), [("1", "x" * 24)])


def test_a_table_scrolls_by_itself_also_by_keyboard() -> None:
    made = table("Sizes", ("size",), [("1",)])
    assert '<div class="scroll" role="region" aria-label="Sizes" tabindex="0"><table' in made


def test_a_section_is_named_by_its_heading() -> None:
    made = section("checks", "Checks", "text")
    assert made == ('<section aria-labelledby="checks"><h2 id="checks">Checks</h2>text</section>')
