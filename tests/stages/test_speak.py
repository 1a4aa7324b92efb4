"""Texts are spoken once, by a command that no text can change."""

import shutil
import sys
import time

import pytest

from joyvasa.errors import ConfigError, EnvironmentFault
from joyvasa.media.audio import probe_audio
from manifests.record import speech_path
from manifests.storage import open_storage
from stages import speak
from stages.base import Failed, FailureKind, Item, Ok
from stages.speak import SpeakConfig, SpeakStage
from tests.stages.items import make_record

SPEAKER = """
import sys, wave
text, sound = sys.argv[-2:]
words = open(text, encoding="utf-8").read()
open({log!r}, "a").write(repr((words, len(sys.argv))) + "\\n")
with wave.open(sound, "wb") as file:
    file.setparams((1, 2, 16000, 0, "NONE", ""))
    file.writeframes(b"\\1\\2" * 1600 * len(words))
"""


@pytest.fixture
def spoken(tmp_path):
    """Function that returns what the synthesizer was given."""
    log = tmp_path / "log.txt"
    (tmp_path / "speaker.py").write_text(SPEAKER.format(log=str(log)))
    return lambda: log.read_text().splitlines() if log.exists() else []


def make_stage(tmp_path, command=None):
    tts = command or f"{sys.executable} {tmp_path}/speaker.py {{text}} {{sound}}"
    stage = SpeakStage(SpeakConfig(run=str(tmp_path / "run"), tts=tts))
    stage.setup()
    return stage


def run(stage, *texts):
    return stage.run([Item(make_record(f"r{number}", text=text)) for number, text in enumerate(texts)])


def test_a_text_becomes_a_sound_in_the_run_folder_once(tmp_path, spoken):
    stage = make_stage(tmp_path)
    assert run(stage, "naïve", None) == [Ok(facts={"seconds": 0.5}), Ok(facts={"seconds": 0.0})]
    assert probe_audio(tmp_path / "run" / speech_path("naïve")).duration_s == 0.5
    run(make_stage(tmp_path), "naïve")
    assert spoken() == ["('naïve', 3)"]


@pytest.mark.parametrize(
    "text", ["; touch pwned", "$(touch pwned)", "`touch pwned`", "--help", "{sound}", "a\n\0b", "'\""]
)
def test_a_text_is_data_whatever_it_holds(tmp_path, spoken, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    assert isinstance(run(make_stage(tmp_path), text)[0], Ok)
    assert spoken() == [repr((text, 3))]
    assert not (tmp_path / "pwned").exists()


def test_a_text_goes_to_an_object_store(tmp_path, spoken):
    storage = open_storage("memory://speak/run")
    stage = SpeakStage(SpeakConfig(run=storage.root, tts=f"{sys.executable} {tmp_path}/speaker.py {{text}} {{sound}}"))
    stage.setup()
    run(stage, "a")
    assert storage.size(speech_path("a")) == 44 + 3200


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("print('no voice'); sys.exit(3)", r"exit code 3: no voice"),
        ("pass", "wrote no sound"),
        ("open(sys.argv[2], 'w').write('no sound')", "speech.wav"),
    ],
)
def test_a_synthesizer_that_fails_fails_the_record_alone(tmp_path, code, found):
    (tmp_path / "bad.py").write_text(f"import sys\n{code}\n")
    (outcome,) = run(make_stage(tmp_path, f"{sys.executable} {tmp_path}/bad.py {{text}} {{sound}}"), "a")
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.BAD_INPUT
    assert found in outcome.sentence
    assert not (tmp_path / "run" / "speech").exists()


def test_a_synthesizer_that_does_not_end_is_killed_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(speak, "LIMIT_S", 0.4)
    (tmp_path / "slow.sh").write_text(f"(sleep 3; touch {tmp_path}/late) & sleep 30 # $1 $2\n")
    started = time.monotonic()
    (outcome,) = run(make_stage(tmp_path, f"sh {tmp_path}/slow.sh {{text}} {{sound}}"), "a")
    assert time.monotonic() - started < 10
    assert "did not end within 0.4 s" in outcome.sentence
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize(
    "tts", ["", "espeak", "flite -o {sound}", "{text} {sound", "say '{text} {sound}", "{text} -o x"]
)
def test_a_command_without_both_files_is_refused(tts):
    with pytest.raises(ConfigError, match="config_invalid: tts is "):
        SpeakConfig(run="run", tts=tts)


def test_a_program_that_is_not_installed_is_named(tmp_path):
    with pytest.raises(EnvironmentFault, match="tts_missing: no-such-program: no such program"):
        make_stage(tmp_path, "no-such-program {text} {sound}")


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_flite_speaks(tmp_path):
    assert run(make_stage(tmp_path, "flite"), "Good morning.")[0].facts["seconds"] > 0.5
