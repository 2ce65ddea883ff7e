from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from distbench.report.chart_files import write_chart


def test_both_files_are_written_and_the_page_gets_what_the_file_holds(tmp_path: Path) -> None:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([1, 2], [3, 4])
    chart = write_chart(tmp_path, "lines", figure, "Two points")
    assert {path.name for path in tmp_path.iterdir()} == {"lines.png", "lines.svg"}
    assert (tmp_path / "lines.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert (chart.name, chart.caption) == ("lines", "Two points")
    assert chart.svg == (tmp_path / "lines.svg").read_text()
