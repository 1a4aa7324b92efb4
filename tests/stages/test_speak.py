"""Texts are spoken once, by a command that no text can change."""

import shutil
import subprocess
import sys
import time

import pytest

from joyvasa.errors import ConfigError, EnvironmentFault
from joyvasa.media.audio import probe_audio
from manifests.record import speech_path
from manifests.storage import open_storage
from stages import speak
from stages.base import Failed, FailureKind, Item, Ok
from stages.speak import ENGINES, SpeakConfig, SpeakStage, describe_voices
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

STAND_IN = """
import argparse, wave
parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("-m", required=True)
parser.add_argument("--data-dir")
parser.add_argument("-i", required=True)
parser.add_argument("-f", "-o", dest="sound", required=True)
options = parser.parse_args()
open({log!r}, "a").write(repr((open(options.i, encoding="utf-8").read(), options.m)) + "\\n")
with wave.open(options.sound, "wb") as file:
    file.setparams((1, 2, 16000, 0, "NONE", ""))
    file.writeframes(b"\\1\\2" * 16000)
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
def test_flite_speaks_with_each_of_its_voices(tmp_path):
    stage = make_stage(tmp_path, "flite")
    (default,) = run(stage, "Good morning.")
    assert default.facts["seconds"] > 0.5
    assert default.facts["tts_voice"] == "slt"
    voices = ENGINES["flite"].voices
    listed = subprocess.run(["flite", "-lv"], capture_output=True, text=True, check=True).stdout
    assert {*voices} <= {*listed.split()}
    items = [Item(make_record(voice, text="Good morning.", voice=voice)) for voice in voices]
    assert [outcome.facts["tts_voice"] for outcome in stage.run(items)] == [*voices]
    sounds = {path.read_bytes() for path in (tmp_path / "run" / "speech").iterdir()}
    assert len(sounds) == len(voices)  # that of the default twice


def test_pico_speaks_six_languages_and_reads_no_marks(tmp_path):
    pytest.importorskip("py_nanotts", reason="not installed: pip install 'joyvasa[tts]'")
    stage = make_stage(tmp_path, "pico")
    items = [Item(make_record(voice, text="Bonjour.", voice=voice)) for voice in ENGINES["pico"].voices]
    assert [outcome.facts["tts_voice"] for outcome in stage.run(items)] == [*ENGINES["pico"].voices]
    marked, plain = run(stage, '<speed level="20">Hello\0 there</speed>', ' speed level="20" Hello  there /speed ')
    assert marked.facts["seconds"] == plain.facts["seconds"]
    (outcome,) = run(stage, "x" * 40_000)
    assert "pico could not speak its text with voice en-US (exit code 1: pico_" in outcome.sentence


@pytest.mark.parametrize(
    "command",
    [
        "python3 -m piper -m {voice} --data-dir /voices -i {text} -f {sound}",
        "python3 -m kokoro -m {voice} -i {text} -o {sound}",
    ],
)
def test_commands_of_other_synthesizers_get_the_voice_of_the_row(tmp_path, spoken, command):
    (tmp_path / "stand_in.py").write_text(STAND_IN.format(log=str(tmp_path / "log.txt")))
    command = command.replace("python3 -m", f"{sys.executable} {tmp_path}/stand_in.py")
    stage = SpeakStage(SpeakConfig(run=str(tmp_path / "run"), tts=command, voice="af_heart"))
    stage.setup()
    first, second = stage.run([Item(make_record("a", text="Hi")), Item(make_record("b", text="Hi", voice="en_US-x"))])
    assert [first.facts["tts_voice"], second.facts["tts_voice"]] == ["af_heart", "en_US-x"]
    assert spoken() == ["('Hi', 'af_heart')", "('Hi', 'en_US-x')"]


def test_a_missing_package_of_an_engine_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(speak, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match=r"tts_missing: py_nanotts: no such package; .*pip install"):
        make_stage(tmp_path, "pico")


@pytest.mark.parametrize(
    ("tts", "voice", "sentence"),
    [
        ("flite", "slr", r"tts_voice is 'slr': .*did you mean slt\? \(voices: slt, awb, kal, kal16, rms\)"),
        ("pico", "Klingon", "expected one of en-US, en-GB, de-DE, es-ES, fr-FR, it-IT"),
        ("say {text} {sound}", "a", r"expected \{voice\} in the command of tts"),
        ("say {voice} {text} {sound}", "../a", "expected the name of a voice"),
        (None, "a", "texts are not spoken; expected the option tts"),
    ],
)
def test_a_voice_that_the_synthesizer_does_not_have_is_refused(tts, voice, sentence):
    with pytest.raises(ConfigError, match=f"config_invalid: .*{sentence}"):
        describe_voices(tts, voice)
