"""The look of a page: one style sheet, its colours in light and in dark, and what print changes."""

from __future__ import annotations

from collections.abc import Mapping

# Name -> (light, dark). Text on its background has a contrast of at least 4.5 (WCAG AA).
PAGE_COLOURS: Mapping[str, tuple[str, str]] = {
    "page": ("#f4f5f7", "#0f1216"),
    "card": ("#ffffff", "#181c22"),
    "ink": ("#1b1f24", "#e7eaee"),
    "quiet": ("#59616b", "#a4adb8"),
    "line": ("#d9dde2", "#333a43"),
    "link": ("#0b5cad", "#7db8f5"),
    "good": ("#0f6b3a", "#6fd39a"),
    "good-back": ("#e6f4ec", "#12301f"),
    "warn": ("#835200", "#f0bd5c"),
    "warn-back": ("#fdf3dc", "#362a10"),
    "bad": ("#a8201a", "#ff9d95"),
    "bad-back": ("#fdeceb", "#3d1614"),
    "plain-back": ("#eceff2", "#262c34"),
}
# What charts are drawn in -> what stands there in dark. Colours that are not here stay as they are.
CHART_COLOURS: Mapping[str, str] = {
    "#000000": "#e7eaee",
    "#ffffff": "#181c22",
    "#444444": "#b9c1ca",
    "#6b6b6b": "#98a1ac",
    "#e3e3e3": "#323942",
    "#b2182b": "#f4807a",
    "#bd1f01": "#f0664d",
    "#832db6": "#bb7ce6",
    "#a96b59": "#c98a77",
}

LAYOUT = """
* { box-sizing: border-box }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100% }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  overflow-wrap: anywhere;
}
main, header, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem }
header { padding-top: 2rem }
h1 { font-size: 1.55rem; line-height: 1.25; margin: .35rem 0 .5rem }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 0 0 .75rem }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem }
p { margin: .6rem 0 }
a { color: var(--link) }
ul, ol { padding-left: 1.3rem; margin: .6rem 0 }
li { margin: .3rem 0 }
sub, sup { line-height: 0 }
.kicker, .quiet, figcaption, .caption, footer { color: var(--quiet) }
.kicker { margin: 0; font-size: .9rem }
section, nav, .answer {
  background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1.25rem; margin: 1.25rem 0;
}
.lead { font-size: 1.1rem; font-weight: 600; margin-top: 0 }
.badge + .lead, .badge + .caption { margin-top: .75rem }
.lead + .more { margin-top: -.3rem }
.takeaway { font-weight: 600 }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
"""

ANSWER = """
.badges { list-style: none; padding: 0; margin: .75rem 0 0; display: flex; flex-wrap: wrap; gap: .5rem }
.badge {
  display: inline-block; margin: 0; padding: .15rem .6rem;
  border-radius: 1rem; border: 1px solid currentColor;
  font-size: .875rem; font-weight: 600; background: var(--plain-back);
}
.good { color: var(--good); background: var(--good-back) }
.warn { color: var(--warn); background: var(--warn-back) }
.bad { color: var(--bad); background: var(--bad-back) }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: 1rem; margin: 0 }
.cards > div { border-left: 4px solid var(--line); padding: 0 0 0 .9rem }
.cards dt { color: var(--quiet); font-size: .9rem }
.cards dd { margin: 0 }
.cards .big { font-size: 1.75rem; line-height: 1.2; font-weight: 700; font-variant-numeric: tabular-nums }
.cards .words { font-size: 1.3rem; line-height: 1.25 }
.cards .small { font-size: .9rem; color: var(--quiet) }
.next { margin-top: 1.25rem; border-top: 1px solid var(--line); padding-top: 1rem }
.next h2 { font-size: 1.05rem; margin-bottom: .4rem }
nav ol { columns: 2 14rem; margin: .4rem 0 0 }
nav li { margin: 0 0 .3rem }
nav h2 { font-size: 1.05rem; margin: 0 }
"""

DETAILS = """
.scroll { overflow-x: auto; max-width: 100%; margin: .75rem 0 }
table {
  border-collapse: collapse; min-width: 100%; overflow-wrap: break-word;
  font-size: .86rem; font-variant-numeric: tabular-nums;
}
.caption { font-size: .9rem; margin: 1rem 0 -.4rem }
th, td { padding: .35rem .45rem; border-bottom: 1px solid var(--line) }
th, td { text-align: left; vertical-align: top }
thead th { border-bottom: 2px solid var(--quiet) }
tbody th { font-weight: 600 }
thead th { vertical-align: bottom }
.numbers td, .numbers thead th:not(:first-child) { text-align: right }
.numbers td { white-space: nowrap }
.numbers .long { white-space: normal; min-width: 9rem }
tbody th { max-width: 22rem }
.words td { max-width: 40rem; overflow-wrap: anywhere }
figure { margin: 1.5rem 0 0 }
figcaption { font-size: .9rem; margin-top: .35rem }
.chart { overflow-x: auto }
.chart svg { display: block; width: 100%; max-width: 58rem; height: auto; fill: var(--c000000) }
.chart svg * { stroke-linejoin: round; stroke-linecap: butt }
pre {
  white-space: pre-wrap; background: var(--plain-back); border-radius: .4rem; padding: .8rem 1rem;
  font: .875rem/1.5 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; margin: .6rem 0;
}
code { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: .92em }
pre code { font-size: 1em }
p code, li code, dd code { white-space: nowrap }
.checks { list-style: none; padding: 0 }
.checks li { padding: .6rem .8rem; border-radius: .4rem; margin: .5rem 0; background: var(--plain-back) }
.checks .good, .checks .warn, .checks .bad { border-left: 4px solid currentColor }
.checks .warn { background: var(--warn-back) }
.checks .bad { background: var(--bad-back) }
.checks span { color: var(--ink) }
.formulas dt { font-weight: 600; margin-top: 1rem }
.formulas dd { margin: .2rem 0 0 }
.formula { font: 1.05rem/1.5 "Cambria Math", "STIX Two Text", Georgia, "DejaVu Serif", serif }
footer { font-size: .875rem; padding-bottom: 2rem }
@media screen and (max-width: 45rem) {
  main, header, footer { padding-left: .75rem; padding-right: .75rem }
  section, nav, .answer { padding: 1rem .85rem }
  .chart svg { width: 40rem }
  thead th { white-space: nowrap }
  figcaption::after { content: " (scroll sideways to see all of it)" }
}
"""

PRINT = """
@media print {
  @page { margin: 14mm }
  :root { color-scheme: light }
  html { font-size: 10pt }
  body { background: none }
  main, header, footer { max-width: none; padding: 0 }
  section, nav, .answer { border: 0; padding: 0; margin: 0 0 1.5rem; background: none }
  nav { display: none }
  h2, h3, .lead, .takeaway, .caption { break-after: avoid }
  figure, tr, li, pre, .cards > div { break-inside: avoid }
  thead { display: table-header-group }
  .scroll, .chart { overflow: visible }
  .chart svg { width: 100%; max-height: 100mm }
  #chart-heat-map svg { max-height: 200mm }
  table { font-size: 7.5pt; min-width: 100%; max-width: 100% }
  th, td { padding: .2rem .25rem }
  tbody td, tbody th { overflow-wrap: anywhere }
  .numbers tbody th { overflow-wrap: break-word; max-width: 14rem }
  .numbers td { white-space: normal }
  .numbers .long { min-width: 0 }
  pre { border: 1px solid var(--line) }
  a { color: inherit; text-decoration: none }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
"""


def variable(colour: str) -> str:
    """The name of the custom property that holds a chart's colour: '#000000' -> '--c000000'."""
    return f"--c{colour.lstrip('#')}"


def style_sheet() -> str:
    """The whole style sheet. Paper is always light: the dark colours are for screens."""
    light = {name: colours[0] for name, colours in PAGE_COLOURS.items()}
    dark = {name: colours[1] for name, colours in PAGE_COLOURS.items()}
    charts_light = {colour: colour for colour in CHART_COLOURS}
    return (
        f":root {{ color-scheme: light dark; {_variables(light, charts_light)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ "
        f"{_variables(dark, CHART_COLOURS)} }} }}"
        f"{LAYOUT}{ANSWER}{DETAILS}{PRINT}"
    )


def _variables(page: Mapping[str, str], charts: Mapping[str, str]) -> str:
    own = [f"--{name}: {colour}" for name, colour in page.items()]
    return "; ".join(own + [f"{variable(name)}: {colour}" for name, colour in charts.items()])
