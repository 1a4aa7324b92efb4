"""Stage `speak`: synthesize the speech of rows that have a text and no recording."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from joyvasa.errors import ConfigError, EnvironmentFault, InputError
from joyvasa.media.audio import probe_audio
from manifests.problems import ValueFault
from manifests.record import speech_path
from manifests.scratch import scratch_folder
from manifests.speech import Voices
from manifests.storage import open_storage
from stages.base import Item, Ok, Outcome, Resources, Stage
from stages.failures import map_each

TEXT, SOUND, VOICE = "{text}", "{sound}", "{voice}"  # placeholders in a command
LIMIT_S = 300.0  # for one text; ten minutes of speech take an engine some seconds
SHOWN_CHARACTERS = 200  # of the output of a synthesizer


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A speech synthesizer that is known by name."""

    command: tuple[str, ...]
    voices: tuple[str, ...]  # the default first
    module: str | None = None  # Python package that it needs
    installation: str  # how to install it


_PICO = str(Path(__file__).with_name("pico_speech.py"))
# Flite is under a license like that of BSD, SVOX Pico under Apache-2.0, and so are their voices. A further voice of
# Flite, awb_time, can only say the time.
ENGINES = {
    "flite": Engine(
        command=("flite", "-voice", VOICE, "-f", TEXT, "-o", SOUND),
        voices=("slt", "awb", "kal", "kal16", "rms"),
        installation="Debian: apt install flite",
    ),
    "pico": Engine(
        command=(sys.executable, "-P", _PICO, TEXT, SOUND, VOICE),
        voices=("en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT"),
        module="py_nanotts",
        installation="pip install 'joyvasa[tts]'",
    ),
}


def parse_command(tts: str) -> list[str]:
    """Return the arguments of a speech synthesizer, with the placeholders `{text}`, `{sound}` and possibly `{voice}`.

    The first two are names of files: the text itself is never an argument, and no shell is involved, so that no text
    can change the command.

    Args:
        tts: name of an engine in `ENGINES`, or a command as a shell would divide it.

    Raises:
        ConfigError: `config_invalid`.
    """
    if engine := ENGINES.get(tts):
        return [*engine.command]
    try:
        arguments = shlex.split(tts)
    except ValueError as error:
        raise ConfigError("config_invalid", f"tts is {tts!r} ({error}); expected a command: close the quotes") from None
    missing = [name for name in (TEXT, SOUND) if not any(name in argument for argument in arguments[1:])]
    if missing:
        expected = f"{', '.join(ENGINES)}, or a command with {TEXT}, a text file, and {SOUND}, the WAV file to write"
        raise ConfigError("config_invalid", f"tts is {tts!r}, without {' and '.join(missing)}; expected {expected}")
    return arguments


def describe_voices(tts: str | None, voice: str | None = None) -> Voices | None:
    """Return the voices of a speech synthesizer; None if there is none.

    Args:
        tts: see `parse_command`.
        voice: voice of rows that name none; None for the default of the synthesizer.

    Raises:
        ConfigError: `config_invalid`.
    """
    if tts is None:
        if voice is not None:
            problem = f"tts_voice is {voice!r}, but texts are not spoken; expected the option tts, too"
            raise ConfigError("config_invalid", f"{problem}: set it")
        return None
    arguments = parse_command(tts)
    if engine := ENGINES.get(tts):
        voices = Voices(engine.voices, voice or engine.voices[0])
    else:
        voices = Voices(None if any(VOICE in argument for argument in arguments[1:]) else (), voice)
    if voice is not None:
        try:
            voices.check(voice)
        except ValueFault as fault:
            raise ConfigError("config_invalid", f"tts_voice is {voice!r}: {fault.sentence}") from None
    return voices


@dataclass(frozen=True, kw_only=True)
class SpeakConfig:
    """Configuration of `SpeakStage`.

    Raises:
        ConfigError: `config_invalid`.
    """

    run: str  # run folder; a path or URI
    tts: str  # see `parse_command`
    voice: str | None = None  # see `describe_voices`

    def __post_init__(self) -> None:
        describe_voices(self.tts, self.voice)


class SpeakStage(Stage[SpeakConfig]):
    """Synthesize the speech of `text` of a row into the run folder, where `audio` of the row refers to it.

    No payload. Facts: `seconds` of the new speech, `tts_voice`. The result depends on text and voice only, so it can be
    shared. A text that was spoken before is not spoken again, so that a resumed run uses the same speech.
    """

    name = "speak"
    resources = Resources(cpu=1.0, time_limit_s=3600.0)
    columns: ClassVar = {"tts_voice": str}

    def setup(self) -> None:
        """Find the program of the synthesizer.

        Raises:
            EnvironmentFault: `tts_missing`.
        """
        program, *self._arguments = parse_command(self.config.tts)
        engine, found = ENGINES.get(self.config.tts), shutil.which(program)
        missing = "" if found else f"{program}: no such program"
        if engine and engine.module and not find_spec(engine.module):
            missing = f"{engine.module}: no such package"
        if missing or not found:
            hint = f" ({engine.installation})" if engine else ""
            problem = f"{missing}; expected the speech synthesizer of the option tts"
            raise EnvironmentFault("tts_missing", f"{problem}: install it on each machine{hint}")
        self._program, self._name = found, self.config.tts if engine else Path(found).name
        voices = describe_voices(self.config.tts, self.config.voice)
        self._voice = voices and voices.default
        self._storage = open_storage(self.config.run)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Speak one text at a time."""
        return map_each(batch, self._speak)

    def _speak(self, item: Item) -> Outcome:
        text = item.record.text
        if not text:
            return Ok(facts={"seconds": 0.0})
        path = speech_path(text, item.record.voice)
        voice = item.record.voice or self._voice
        used = {"tts_voice": voice} if voice else {}
        if self._storage.exists(path):
            return Ok(facts={"seconds": 0.0, **used})
        with scratch_folder() as folder:
            sound = folder / "speech.wav"
            self._synthesize(text, voice, folder / "text.txt", sound, item.record.id)
            seconds = probe_audio(sound).duration_s
            with self._storage.staging(path) as staged:
                shutil.copyfile(sound, staged)
        return Ok(facts={"seconds": seconds, **used})

    def _synthesize(self, text: str, voice: str | None, text_file: Path, sound: Path, record_id: str) -> None:
        """Run the synthesizer.

        Raises:
            InputError: `speech_failed`.
        """
        text_file.write_text(text, encoding="utf-8")
        values = {VOICE: voice or "", TEXT: str(text_file), SOUND: str(sound)}
        command = [self._program]
        for argument in self._arguments:
            for name, value in values.items():
                argument = argument.replace(name, value)
            command.append(argument)

        log = text_file.with_name("output.txt")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code: int | None = process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if code == 0 and sound.is_file() and sound.stat().st_size:
            return
        with log.open("rb") as output:
            said = " ".join(output.read(4096).decode(errors="replace").split())[:SHOWN_CHARACTERS]
        result = f"did not end within {LIMIT_S:g} s" if code is None else f"exit code {code}"
        if code == 0:
            result = "wrote no sound"
        named = f" with voice {voice}" if voice else ""
        problem = f"record {record_id}: {self._name} could not speak its text{named} ({result}: {said})"
        raise InputError("speech_failed", f"{problem}; expected a WAV file: check the text, or try the command by hand")
