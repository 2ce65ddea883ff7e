"""What a tuning takes from one launch: its rate, its efficiency where one rank was timed too."""

from __future__ import annotations

from dataclasses import dataclass

from distbench.analysis.launch_intervals import NAN, Estimate
from distbench.analysis.studies import FinishedLaunch, read_launch

UNKNOWN = Estimate(NAN, NAN, NAN)


@dataclass(frozen=True)
class TunedLaunch:
    """One launch: the median rate of all its ranks.

    `efficiency` is against one rank of the same launch, its interval from the rounds; `obstacles` are
    reasons not to trust the launch, `warnings` what may make it wrong.
    """

    about: tuple[str, str, str, str]  # network, settings that are not as by default, batch, devices
    images_per_s: float
    efficiency: Estimate
    one_rank_images_per_s: float
    obstacles: tuple[str, ...]
    warnings: tuple[str, ...]


def read_tuned(launch: FinishedLaunch, ranks: int) -> TunedLaunch | None:
    """Reads one complete launch of so many ranks; None where it timed no step of them.

    Raises RecordsError where its records cannot be read.
    """
    result = read_launch(launch)
    if result is None:
        return None
    by_size = {int(row["size"]): row for _, row in result.points.iterrows()}
    if ranks not in by_size:
        return None
    own = by_size[ranks]
    has_one = 1 in by_size and ranks > 1
    levels = {
        level: tuple(check.text for check in result.checks if check.level == level)
        for level in ("invalid", "suspect")
    }
    return TunedLaunch(
        about=result.about,
        images_per_s=float(own["images_per_s"]),
        efficiency=(
            Estimate(*(float(own[f"efficiency{end}"]) for end in ("", "_low", "_high")))
            if has_one
            else UNKNOWN
        ),
        one_rank_images_per_s=float(by_size[1]["images_per_s"]) if has_one else NAN,
        obstacles=levels["invalid"],
        warnings=levels["suspect"],
    )
