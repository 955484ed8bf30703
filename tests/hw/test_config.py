"""Configurations of a core: what is refused, and the messages."""

import re

import pytest

from relif_hw.config import PRESETS, ConfigError, CoreConfig, preset


@pytest.mark.parametrize(("fields", "message"), [
    ({"lanes": 12}, "lanes must be a power of two from 1 to 128, not 12"),
    ({"lanes": 256}, "lanes must be a power of two from 1 to 128, not 256"),
    ({"lanes": True}, "lanes must be an integer, not True"),
    ({"weight_bits": 3}, "weight_bits must be from 4 to 16 with 18-bit states, not 3"),
    ({"weight_bits": 17}, "weight_bits must be from 4 to 16 with 18-bit states, not 17"),
    ({"weight_bits": 15, "state_bits": 16}, "weight_bits must be from 4 to 14 with 16-bit states, not 15"),
    ({"state_bits": 17}, "state_bits must be 16 or 18, not 17"),
    ({"accumulator_bits": 33}, "accumulator_bits must be from 20 to 32, not 33"),
    ({"weight_words": 1 << 17}, "weight_words must be from 16 to 65536, not 131072"),
    ({"neuron_words": 513}, "neuron_words must be from 8 to 512 (event addresses have 14 bits), not 513"),
    ({"surrogates": 3}, "surrogates must be 1, 2 or 4, not 3"),
    ({"lanes": 2, "eligibility_words": 16}, "eligibility_words must be 0 in a core of 1 or 2 lanes, not 16"),
    ({"weight_words": 64, "eligibility_words": 65}, "eligibility_words must be 0 (none), or from 16 to 64 "
     "(a word for each of the synapse memory at most), not 65"),
])
def test_what_no_core_can_have_is_refused(fields, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        CoreConfig(**fields)


@pytest.mark.parametrize(("state_bits", "weight_bits"), [(16, 4), (16, 14), (18, 4), (18, 16)])
def test_the_narrowest_and_the_widest_weights(state_bits, weight_bits):
    config = CoreConfig(state_bits=state_bits, weight_bits=weight_bits)
    # An update has a bit more than the weight; a weight that learns fits a result.
    assert config.update_shift + weight_bits == {16: 26, 18: 30}[state_bits]
    assert weight_bits + config.weight_shift <= state_bits


def test_presets_by_name():
    assert all(preset(name).name == name for name in PRESETS)
    with pytest.raises(ConfigError, match="^no preset is called 'lanes3'; there are lanes1, lanes2, "):
        preset("lanes3")
