"""Sizes of the speech encoder that fit no network are refused with a sentence."""

import pytest

from joyvasa.errors import ConfigError
from joyvasa.networks.speech_encoder import SpeechEncoderConfig


@pytest.mark.parametrize("name", ["num_attention_heads", "num_conv_pos_embedding_groups"])
def test_numbers_that_do_not_divide_the_width_are_refused_by_name(name):
    sentence = rf"bad_network_size: SpeechEncoderConfig\.{name}: found 5; .*hidden_size=768"
    with pytest.raises(ConfigError, match=sentence):
        SpeechEncoderConfig(**{name: 5})
