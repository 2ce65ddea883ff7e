from __future__ import annotations

import pytest

from distbench.config import checked_value, settings
from distbench.presets import PRESETS
from distbench.resolving import resolve


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_holds_settings_and_values_that_could_have_been_given(name: str) -> None:
    for setting, value in PRESETS[name].items():
        assert setting in settings()
        assert checked_value(setting, value, "preset") == value
    resolved = resolve({"preset": name}, on_gpu=True, world_size=1)
    for setting, value in PRESETS[name].items():
        assert getattr(resolved, setting) == value
