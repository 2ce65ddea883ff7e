"""The method: what each number means, its formula, and where the formula is from."""

from __future__ import annotations

from typing import NamedTuple

from distbench.report.html_parts import NOTHING, Markup, joined, tag


class Definition(NamedTuple):
    """One number of the report; the formula and the text are HTML."""

    name: str
    formula: str
    text: str
    source: str = ""


DEFINITIONS = (
    Definition(
        "Job step",
        "T = max<sub>i</sub> t<sub>i</sub>",
        "A step of the job is as long as that of its slowest rank i, step by step. Skew is the "
        "largest t<sub>i</sub> minus the smallest. Warm-up is recorded and not counted; nothing is "
        "dropped as an outlier.",
        "Hoefler &amp; Belli 2015, rule 10",
    ),
    Definition(
        "images/s",
        "X = images of all ranks in a step ÷ median T",
        "Never a mean of rates, and never one rank times their number.",
        "Hoefler &amp; Belli 2015, rules 3 and 4",
    ),
    Definition(
        "95 % interval of a median",
        "[x<sub>(l)</sub>, x<sub>(n+1−l)</sub>] with the largest l for which "
        "1 − 2 P(Bin(n, ½) &lt; l) ≥ 0.95, moved inwards to where 95 % are held",
        "Of the n medians of the blocks (rounds), since the steps of one block are alike. No "
        "distribution is assumed; below n = 6 there is no interval. Ratios of two sizes rest on "
        "the rounds' own ratios, so that drift between rounds cancels.",
        "Hahn &amp; Meeker 1991, section 5.2; Hettmansperger &amp; Sheather 1986",
    ),
    Definition(
        "Speed-up and parallel efficiency",
        "S(p) = X(p) ÷ X(b); &nbsp; E(p) = (X(p) ÷ p) ÷ (X(b) ÷ b)",
        "Of p ranks against the baseline of b. Weak scaling (a fixed batch per rank): "
        "E = T(b) ÷ T(p). Strong scaling (one batch divided): E = b T(b) ÷ (p T(p)). "
        "The two are never mixed.",
        "Hoefler &amp; Belli 2015, rule 1: the baseline is named with its absolute rate",
    ),
    Definition(
        "Exposed and hidden communication, overlap",
        "exposed = T<sub>forward_backward_allreduce</sub> − T<sub>forward_backward</sub>; &nbsp; "
        "hidden = T<sub>allreduce</sub> − exposed; &nbsp; overlap = hidden ÷ T<sub>allreduce</sub>",
        "Not clipped: a negative overlap means that communication disturbs computing.",
    ),
    Definition(
        "algbw and busbw",
        "algbw = S ÷ T<sub>allreduce</sub>; &nbsp; busbw = algbw · 2(n−1) ÷ n",
        "S are the bytes of all gradients of one rank, n the ranks, GB are 10<sup>9</sup> bytes.",
        "nccl-tests, doc/PERFORMANCE.md",
    ),
    Definition(
        "Lower bound of the wire",
        "T<sub>allreduce</sub> ≥ 2(g−1)/g · S/B<sub>node</sub> + 2(n−1)/n · (S/g)/B<sub>fabric</sub>",
        "For n nodes of g ranks each, B is a link's bytes per second in one direction; on one level "
        "this is the ring's 2(p−1)/p · S/B. An allreduce that keeps both kinds of links busy at once "
        "can be a little faster; one that is faster than all links together allow is called out.",
        "Patarasuk &amp; Yuan 2009",
    ),
    Definition(
        "MFU (model FLOPs utilisation)",
        "MFU = images/s per device · F ÷ peak FLOP/s; &nbsp; "
        "F = 2 (3 MAC − MAC<sub>first layer</sub>)",
        "MAC are the multiply-adds of one image's forward pass, convolutions and fully connected "
        "layers, products with the zero padding counted. The backward pass costs twice the forward "
        "pass, and the first layer needs no gradient of its input.",
    ),
    Definition(
        "Loss budget",
        "measured T(p) − ideal T = Σ parts + residual",
        "The ideal is the step at an efficiency of 100 %. A part's points of efficiency are its "
        "time ÷ the measured step. The parts and the residual sum to the loss exactly; the residual "
        "is what no measured part explains.",
    ),
    Definition(
        "Stragglers",
        "lag of rank i = mean over its units of ln(t<sub>i</sub> ÷ median of the other ranks' t)",
        "At the same step, of a phase in which no rank waits for another; a unit is a run of "
        "consecutive steps. A rank is named where its lag is more than its own noise explains, "
        "stands out from the spread of the ranks, and is 1 % at least; chance accuses any rank of a "
        "run in at most 5 % of runs (Bonferroni). Who came last at the meetings after the blocks is "
        "told from each rank's own clock, so that no clocks need to agree.",
        "Tukey 1977, chapter 11 (median polish)",
    ),
)


def definitions() -> Markup:
    """All of them as a list of definitions."""
    return tag("dl", *map(_definition, DEFINITIONS), class_="formulas")


def _definition(item: Definition) -> Markup:
    source = (
        tag("p", "Source: ", Markup(item.source), ".", class_="quiet") if item.source else NOTHING
    )
    return joined(
        [
            tag("dt", item.name),
            tag(
                "dd",
                tag("p", Markup(item.formula), class_="formula"),
                tag("p", Markup(item.text)),
                source,
            ),
        ]
    )
