import pickle

import pytest

from joyvasa.errors import InputError, InputWarning, first_line


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


def test_the_reason_of_a_library_is_its_first_line_or_its_type():
    assert first_line(ValueError("\nbroken\nat 3")) == "broken"
    assert first_line(KeyError()) == "KeyError"
