from __future__ import annotations

from distbench.report.html_study import StudyPart, study_html
from tests.test_html_svg import drawn

HOSTILE = "<script>alert('x')</script>"


def test_a_studys_page_holds_its_tables_and_charts_escaped() -> None:
    parts = [
        StudyPart(
            f"Curve 1: {HOSTILE}", ("size", "images/s"), [("1", "246.1"), ("2", "488.3")], []
        ),
        StudyPart("Missing", (), [], [f"missing: {HOSTILE}"]),
        StudyPart("Notes", (), [], []),
    ]
    made = study_html(HOSTILE, "2 of 3 cells are complete", parts, [drawn(name="curves")])
    assert "<script" not in made
    assert made.count("&lt;script&gt;alert(&#x27;x&#x27;)") >= 5
    assert "2 of 3 cells are complete." in made
    assert '<th scope="row">2</th><td>488.3</td>' in made
    assert 'id="chart-curves"' in made
    assert '<a href="#part-2">Missing</a>' in made
    assert "Notes" not in made, "a part without content is left out"


def test_a_study_without_results_is_a_page_too() -> None:
    made = study_html("a study", "0 of 3 cells are complete", [], [])
    assert "0 of 3 cells are complete." in made
    assert "<figure" not in made
