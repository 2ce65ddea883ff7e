"""What many rows of steps have in common: the blocks of each rank, and the steps of each job step.

The rows of one rank and block stand together in a frame of steps. Whatever is the same in all of them
is worked out once for the block, so that 20 million steps take a second and not minutes. Rows in any
other order give the same results, only slower.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

Array = np.ndarray[Any, Any]
JOB_BLOCK = ["phase", "group", "role", "group_size", "block"]
_SAME_IN_A_BLOCK = [*JOB_BLOCK, "rank", "warmup", "images"]


class RankBlocks(NamedTuple):
    """The timed rows of a frame of steps, by rank and block.

    `frame` has one row per run of consecutive steps of one rank and block: the columns of JOB_BLOCK,
    rank, images, `first_step`, `steps` (how many), and `start_ns` and `end_ns`, from the first start
    to the last end. `durations_ns` holds the durations of all those steps one after the other.
    """

    frame: pd.DataFrame
    durations_ns: Array


def rank_blocks(steps: pd.DataFrame) -> RankBlocks:
    """The timed rows of `steps`, the columns of `Run.steps`, by rank and block."""
    firsts = _firsts(steps)
    lengths = np.diff(np.append(firsts, len(steps)))
    frame = steps[_SAME_IN_A_BLOCK].iloc[firsts].reset_index(drop=True)
    frame["first_step"] = steps["step"].to_numpy()[firsts]
    frame["steps"] = lengths
    starts, durations = steps["start_ns"].to_numpy(), steps["duration_ns"].to_numpy()
    if len(firsts):
        frame["start_ns"] = np.minimum.reduceat(starts, firsts)
        frame["end_ns"] = np.maximum.reduceat(starts + durations, firsts)
    else:
        frame["start_ns"] = frame["end_ns"] = np.empty(0, dtype=np.int64)
    timed = ~frame.pop("warmup").to_numpy(dtype=bool)
    if not timed.all():
        durations = durations[np.repeat(timed, lengths)]
        frame = frame[timed].reset_index(drop=True)
    return RankBlocks(frame, durations)


def _firsts(steps: pd.DataFrame) -> Array:
    """The places of the rows that do not go on with the block of the row before."""
    if steps.empty:
        return np.empty(0, dtype=np.int64)
    counted = steps["step"].to_numpy()
    is_first = np.ones(len(steps), dtype=bool)
    is_first[1:] = counted[1:] != counted[:-1] + 1
    for name in _SAME_IN_A_BLOCK:
        values = _comparable(steps[name])
        is_first[1:] |= values[1:] != values[:-1]
    return np.flatnonzero(is_first)


def _comparable(column: pd.Series) -> Array:
    """Numbers that are equal where the values are."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes)
    if pd.api.types.is_numeric_dtype(column.dtype):
        return np.asarray(column)
    return np.asarray(pd.factorize(column)[0])


def job_blocks(frame: pd.DataFrame) -> tuple[pd.DataFrame, Array]:
    """One row per block of a group under JOB_BLOCK, sorted; and which of them each row is of.

    `frame` is that of RankBlocks. Words are strings, whatever the frame keeps them as.
    """
    words = {name: frame[name].astype(object) for name in ("phase", "group", "role")}
    keys = frame.assign(**words).groupby(JOB_BLOCK, sort=True)
    return keys.size().index.to_frame(index=False), keys.ngroup().to_numpy()


class JobSteps(NamedTuple):
    """The steps of all job blocks, one after the other; arrays of the same length.

    `block` is a place in the frame of `job_blocks`, `step` counts within it. `ranks` says how many
    have the step, `images` is their sum.
    """

    block: Array
    step: Array
    slowest_ns: Array
    fastest_ns: Array
    images: Array
    ranks: Array


def steps_of_jobs(blocks: RankBlocks, block_of_row: Array, count: int) -> JobSteps:
    """Every step that any rank has of each of `count` job blocks, over its ranks."""
    frame = blocks.frame
    lengths = frame["steps"].to_numpy()
    first = frame["first_step"].to_numpy(dtype=np.int64)
    lowest = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(lowest, block_of_row, first)
    highest = np.zeros(count, dtype=np.int64)
    np.maximum.at(highest, block_of_row, first + lengths)
    offsets = np.append(0, np.cumsum(highest - lowest))
    place = _counted_on(offsets[block_of_row] + first - lowest[block_of_row], lengths)
    total = int(offsets[-1])
    slowest = np.zeros(total, dtype=np.int64)
    np.maximum.at(slowest, place, blocks.durations_ns)
    fastest = np.full(total, np.iinfo(np.int64).max)
    np.minimum.at(fastest, place, blocks.durations_ns)
    images = np.zeros(total, dtype=np.int64)
    np.add.at(images, place, np.repeat(frame["images"].to_numpy(dtype=np.int64), lengths))
    rows = np.bincount(place, minlength=total)
    twice = _rows_too_many(frame, block_of_row, place, total)
    of_step = np.repeat(np.arange(count), highest - lowest)
    step = np.arange(total) - offsets[of_step] + lowest[of_step]
    return JobSteps(of_step, step, slowest, fastest, images, rows - twice)


def _counted_on(starts: Array, lengths: Array) -> Array:
    """start, start + 1, start + 2 … for each start and its length."""
    ends = np.cumsum(lengths)
    counted = np.arange(ends[-1] if len(ends) else 0)
    counted += np.repeat(starts - (ends - lengths), lengths)
    return counted


def _rows_too_many(frame: pd.DataFrame, block_of_row: Array, place: Array, total: int) -> Array:
    """By step, how many rows are of a rank that has another row of the same step."""
    owner = pd.DataFrame({"block": block_of_row, "rank": frame["rank"].to_numpy()})
    lengths = frame["steps"].to_numpy()
    split = owner.duplicated(keep=False).to_numpy()
    if not split.any():
        return np.zeros(total, dtype=np.int64)
    of_split = np.repeat(split, lengths)
    rows = pd.DataFrame(
        {
            "place": place[of_split],
            "rank": np.repeat(owner["rank"].to_numpy()[split], lengths[split]),
        }
    )
    return np.bincount(rows.loc[rows.duplicated().to_numpy(), "place"], minlength=total)
