"""The settings of a device: what is refused, and what a record keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cards import DEVICE

from pipeline.errors import SettingsError
from pipeline.records import to_record


def test_a_layout_is_the_choice_of_a_gpu_alone():
    with pytest.raises(SettingsError, match=r"devices.cpu.channels_last: got True, expected null"):
        replace(DEVICE, channels_last=True)
    assert replace(DEVICE, kind="cuda", channels_last=True).channels_last


def test_a_record_from_before_layouts_could_be_chosen_stays_valid():
    assert "channels_last" not in to_record(DEVICE)
    assert to_record(replace(DEVICE, kind="cuda", channels_last=False))["channels_last"] is False
