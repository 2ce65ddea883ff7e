"""Named sets of values, which fill what nobody set."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # The benchmark that this project grew from; its fc8 has a ReLU, unlike the paper's.
    "seed": {"head": "relu"},
    # The same sizes with the paper's head: what runs on a GPU where no preset is named.
    "gpu": {},
    # What runs on a CPU where no preset is named: the real network, few steps, the smallest batch.
    "cpu": {"batch_size": 1, "warmup_steps": 2, "steps": 12, "blocks": 6},
    # A smoke run that proves the machinery in under a minute; not VGG.
    "quick": {
        "image_size": 32,
        "batch_size": 8,
        "classes": 10,
        "fc_units": 128,
        "width_multiplier": 0.25,
        "warmup_steps": 4,
        "steps": 72,
        "blocks": 6,
    },
}
