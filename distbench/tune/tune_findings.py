"""What a tuning has found, from its records alone: the search is gone through again without launches."""

from __future__ import annotations

import math
from collections.abc import Iterator

from distbench import units
from distbench.analysis.compare import NO_DIFFERENCE, NOT_RESOLVED
from distbench.analysis.tuned_launches import TunedLaunch
from distbench.report.tune_report import ratio_text
from distbench.report.tune_rows import (
    BEST_SO_FAR,
    WINNER,
    CandidateRow,
    EffectRow,
    TuneFindings,
    best_first,
)
from distbench.study.study_plan import duration
from distbench.tune import winner
from distbench.tune.budget import Budget
from distbench.tune.halving import LEAST_DIFFERENCE, NOT_MUCH_FASTER, Behind
from distbench.tune.rounds import DECIDED, TOO_MANY_ROUNDS, Failure
from distbench.tune.search import Found, level_effect, search
from distbench.tune.space import Choice, changed_levels, level_text
from distbench.tune.tune_files import EFFICIENCY, RATE, Purpose, TuneRecord
from distbench.tune.tune_plan import method_lines, settings_text
from distbench.tune.tune_runner import TuneRunner

NAN = float("nan")
WHY_EFFICIENCY_DIFFERS = (
    "Efficiency divides by what one rank reaches with the same setting, so that a setting which makes "
    "one rank faster may lose efficiency while the job gains: choose by images/s, and read the "
    "efficiency as what communication still takes away."
)


class Gathered:
    """A search that has ended, with all that was read for it."""

    def __init__(self, record: TuneRecord) -> None:
        self.record, self.tuning = record, record.tuning
        self._runner = TuneRunner(record, Budget(record.budget_s))
        self.found: Found = search(self.tuning.space, self._runner, self.tuning.study.order_seed)
        self.efficiency: dict[int, TunedLaunch] = {}
        self.without_efficiency: dict[int, str] = {}
        for number, choice in enumerate(self.found.choices):
            if Purpose(EFFICIENCY, choice, 0) not in record.launches:
                continue
            one = self._runner.efficiency(choice)
            if isinstance(one, Failure):
                self.without_efficiency[number] = one.cause
            elif one is not None:
                self.efficiency[number] = one

    def label(self, number: int) -> str:
        """A setting as a person reads it."""
        return self.tuning.cell(self.found.choices[number]).label

    def launches(self) -> list[tuple[Purpose, TunedLaunch]]:
        """Every launch that was read."""
        return list(self._runner.read.items())

    @property
    def rivals(self) -> dict[int, Behind]:
        """Every other setting that was measured against the winner."""
        return {one.candidate: one for one in self.found.behind_leader()}


def efficiency_order(found: Found) -> list[Choice]:
    """Whose efficiency to measure first: the winner's, then of what was left, then by rate."""
    if found.leader is None:
        return []
    effects = found.effects
    numbers = [n for n in range(len(found.choices)) if n in effects and n not in found.failed]
    numbers.sort(key=lambda n: (n != found.leader, n in found.dropped, -effects.rate(n).log))
    return [found.choices[number] for number in numbers]


def findings_of(record: TuneRecord) -> TuneFindings:
    """Everything that the report of a tuning shows."""
    gathered = Gathered(record)
    found, tuning = gathered.found, record.tuning
    rows = best_first(_row(gathered, number) for number in range(len(found.choices)))
    cell = None if found.leader is None else tuning.cell(found.choices[found.leader])
    return TuneFindings(
        name=tuning.study.name,
        about=_about(gathered),
        headline=_headline(gathered),
        candidates=rows,
        effects=list(_effects(gathered)),
        notes=list(dict.fromkeys(_notes(gathered))),
        method=method_lines(tuning),
        command=winner.command_line(tuning.study, cell) if cell else "",
        toml=winner.study_file(tuning.study, cell) if cell else "",
    )


def _about(gathered: Gathered) -> str:
    """Network and devices; no mark of a CPU, a simulation or a reduced network is lost."""
    networks = dict.fromkeys(one.about[0] for _, one in gathered.launches())
    devices = dict.fromkeys(one.about[-1] for _, one in gathered.launches())
    ranks = gathered.tuning.study.ranks
    what = f"{gathered.tuning.phase} of {ranks} rank(s)"
    return ", ".join(["; ".join(networks), what, *devices] if networks else [what])


def _row(gathered: Gathered, number: int) -> CandidateRow:
    found = gathered.found
    launches = sum(one.candidate == number for one in found.rates)
    rate = found.effects.rate(number) if launches else None
    low, high = rate.interval() if rate else (NAN, NAN)
    is_winner = number == found.leader
    behind = gathered.rivals.get(number)
    efficiency = gathered.efficiency.get(number)
    return CandidateRow(
        label=gathered.label(number),
        launches=launches,
        images_per_s=rate.ratio if rate else NAN,
        images_per_s_low=low,
        images_per_s_high=high,
        ratio=1.0 if is_winner else behind.ratio if behind else NAN,
        ratio_low=behind.low if behind else NAN,
        ratio_high=behind.high if behind else NAN,
        efficiency=efficiency.efficiency.value if efficiency else NAN,
        efficiency_low=efficiency.efficiency.low if efficiency else NAN,
        efficiency_high=efficiency.efficiency.high if efficiency else NAN,
        one_rank_images_per_s=efficiency.one_rank_images_per_s if efficiency else NAN,
        outcome=_outcome(found, number, behind),
        is_winner=is_winner,
    )


def _outcome(found: Found, number: int, behind: Behind | None) -> str:
    if number in found.failed:
        return found.failed[number]
    if number == found.leader:
        return WINNER if found.ended == DECIDED else BEST_SO_FAR
    if behind is None:
        return "not measured"
    if number in found.dropped:
        dropped = found.dropped[number]
        return f"{behind.verdict}; left after round {dropped.round}: {dropped.why}"
    return behind.verdict


def _headline(gathered: Gathered) -> str:
    found = gathered.found
    if found.leader is None:
        return "No setting could be measured."
    rate = found.effects.rate(found.leader)
    ranks = gathered.tuning.study.ranks
    label = gathered.label(found.leader)
    text = f"{label} gives the most images/s at {ranks} rank(s): {units.rate(rate.ratio)}"
    if found.ended != DECIDED:
        text = (
            f"NOT DECIDED: so far the best choice at {ranks} rank(s) is {label}: "
            f"{units.rate(rate.ratio)} images/s"
        )
    text += _against_default(gathered)
    return f"{text}. {_standing(gathered)}".rstrip()


def _against_default(gathered: Gathered) -> str:
    found = gathered.found
    default = gathered.tuning.space.default
    if found.leader is None or default not in found.choices:
        return ""
    base = found.choices.index(default)
    if base == found.leader:
        return ", and is the default"
    if base not in found.effects:
        return ""
    ratio = found.effects.ratio(found.leader, base)
    low, high = ratio.interval()
    ends = "" if math.isnan(low) else f" (95 % interval {ratio_text(low)} to {ratio_text(high)})"
    return f", {ratio_text(ratio.ratio)} times the default's{ends}"


def _standing(gathered: Gathered) -> str:
    """How the others stand to the winner."""
    found, rivals = gathered.found, gathered.rivals
    by_verdict: dict[str, list[str]] = {}
    for number, one in rivals.items():
        if number not in found.failed:
            key = one.verdict
            if key == NOT_RESOLVED and number in found.dropped:
                key = found.dropped[number].why
            by_verdict.setdefault(key, []).append(gathered.label(number))
    parts = []
    for verdict, words in (
        (NO_DIFFERENCE, "No difference that matters (1 %) to: {}."),
        (NOT_MUCH_FASTER, "At most 1 % faster, and perhaps slower: {}."),
        (NOT_RESOLVED, "Not told apart from: {}."),
    ):
        if verdict in by_verdict:
            parts.append(words.format(settings_text(by_verdict.pop(verdict))))
    early = sum(len(names) for key, names in by_verdict.items() if key != "slower")
    slower = len(by_verdict.get("slower", ()))
    if slower:
        everything = not parts and not early and not found.failed
        parts.append("All others are slower." if everything else f"{slower} are slower.")
    if early:
        parts.append(f"{early} left before they were told apart, being behind.")
    if found.failed:
        parts.append(f"{len(found.failed)} could not be run.")
    return " ".join(parts)


def _effects(gathered: Gathered) -> Iterator[EffectRow]:
    space, found = gathered.tuning.space, gathered.found
    for axis, level, choice in changed_levels(space, space.default):
        effect = level_effect(found, space, choice)
        low, high = effect.interval() if effect else (NAN, NAN)
        number = found.choices.index(choice) if choice in found.choices else None
        note = "" if effect else "not measured"
        if number is not None and number in found.failed:
            note = found.failed[number]
        ratio = effect.ratio if effect else NAN
        yield EffectRow(axis.name, level_text(level, axis), ratio, low, high, note)


def _notes(gathered: Gathered) -> Iterator[str]:
    found, record = gathered.found, gathered.record
    if found.ended != DECIDED:
        why = record.ended or "there were no more launches"
        if found.ended == TOO_MANY_ROUNDS:
            why = "so many rounds did not tell what is left apart, so that it differs little"
        yield f"note: the search ended before the leader was known: {why}"
        if found.rates and math.isnan(found.effects.spread):
            yield (
                "note: no setting was launched twice, so that nothing tells them from luck: the first "
                "one measured stays the choice; give a longer --budget and --resume"
            )
    yield from _about_efficiency(gathered)
    yield from _about_training(gathered)
    for number, cause in gathered.without_efficiency.items():
        yield f"note: no efficiency of {gathered.label(number)}: {cause}"
    for purpose, launch in gathered.launches():
        for warning in launch.warnings:
            yield f"suspect: {gathered.tuning.cell(purpose.choice).label}: {warning}"
    for one in found.effects.far_off if found.rates else ():
        yield (
            f"note: in round {one.round} {gathered.label(one.candidate)} gave "
            f"{units.rate(one.images_per_s)} images/s, which lies so far off that it does not count"
        )
    launches = len(record.launches)
    rates = sum(purpose.what == RATE for purpose in record.launches)
    text = f"note: {launches} launch(es), {rates} of them in {found.rounds} round(s), took "
    text += f"{duration(record.spent_s)} of the budget of {duration(record.budget_s)}"
    if found.rates and not math.isnan(found.effects.spread):
        text += f"; launches of one setting differ by {units.percent(found.effects.spread)} (sd)"
    yield text


def _about_efficiency(gathered: Gathered) -> Iterator[str]:
    """Whether the ranking by efficiency is another one, and why one should care."""
    found, efficiency = gathered.found, gathered.efficiency
    if gathered.tuning.study.ranks == 1:
        yield "note: one rank has no efficiency"
        return
    measured = [number for number in efficiency if number not in found.failed]
    if found.leader is None or found.leader not in measured or len(measured) < 2:
        return
    best = max(measured, key=lambda number: efficiency[number].efficiency.value)
    if best == found.leader:
        yield "note: the winner has the highest efficiency of those measured, too"
        return
    highest, own = efficiency[best].efficiency, efficiency[found.leader].efficiency
    both = (
        f"{gathered.label(best)} has {units.percent(highest.value)} and the winner "
        f"{units.percent(own.value)}"
    )
    if not highest.low > own.high or highest.value - own.value < LEAST_DIFFERENCE:
        yield f"note: their efficiencies are not told apart: {both}"
        return
    yield f"note: efficiency ranks them otherwise: {both}. {WHY_EFFICIENCY_DIFFERS}"


def _about_training(gathered: Gathered) -> Iterator[str]:
    found, space = gathered.found, gathered.tuning.space
    if found.leader is None:
        return
    for axis, level in space.differences(found.choices[found.leader], space.default):
        if axis.changes_training or axis.name in ("batch_size", "global_batch", "precision"):
            yield (
                f"note: {axis.name} {level_text(level, axis)} changes what is computed in training: "
                "more images/s need not mean that a network is trained sooner"
            )
