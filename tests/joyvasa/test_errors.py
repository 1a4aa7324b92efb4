import pickle

import pytest

from joyvasa.errors import InputError, InputWarning


@pytest.mark.parametrize("kind", [InputError, InputWarning])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("caf\udce9.wav: no file", "caf\\udce9.wav: no file"),
        ("a\nb\x1b[31m.png: \u202e damaged", "a\\nb\\x1b[31m.png: \\u202e damaged"),
        ("Jörg.png: zwei Köpfe", "Jörg.png: zwei Köpfe"),
    ],
)
def test_a_sentence_is_one_line_without_control_characters(kind, text, shown):
    assert kind("damaged", text).sentence == shown
    assert pickle.loads(pickle.dumps(kind("damaged", text))).sentence == shown
