"""Stage `speak`: synthesize the speech of rows that have a text and no recording."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from joyvasa.errors import ConfigError, EnvironmentFault, InputError
from joyvasa.media.audio import probe_audio
from manifests.record import speech_path
from manifests.scratch import scratch_folder
from manifests.storage import open_storage
from stages.base import Item, Ok, Outcome, Resources, Stage
from stages.isolation import map_each

# Speech synthesizers by name. Flite is under a license like that of BSD, and so are its voices.
ENGINES = {"flite": "flite -voice slt -f {text} -o {sound}"}
TEXT, SOUND = "{text}", "{sound}"  # placeholders in a command
LIMIT_S = 300.0  # for one text; ten minutes of speech take flite a few seconds
SHOWN_CHARACTERS = 200  # of the output of a synthesizer


def parse_command(tts: str) -> list[str]:
    """Return the arguments of a speech synthesizer, with the placeholders `{text}` and `{sound}`.

    They are names of files: the text itself is never an argument, and no shell is involved, so that no text can change
    the command.

    Args:
        tts: name of an engine in `ENGINES`, or a command as a shell would divide it.

    Raises:
        ConfigError: `config_invalid`.
    """
    try:
        arguments = shlex.split(ENGINES.get(tts, tts))
    except ValueError as error:
        raise ConfigError("config_invalid", f"tts is {tts!r} ({error}); expected a command: close the quotes") from None
    missing = [name for name in (TEXT, SOUND) if not any(name in argument for argument in arguments[1:])]
    if missing:
        expected = f"{', '.join(ENGINES)}, or a command with {TEXT}, a text file, and {SOUND}, the WAV file to write"
        raise ConfigError("config_invalid", f"tts is {tts!r}, without {' and '.join(missing)}; expected {expected}")
    return arguments


@dataclass(frozen=True, kw_only=True)
class SpeakConfig:
    """Configuration of `SpeakStage`.

    Raises:
        ConfigError: `config_invalid`.
    """

    run: str  # run folder; a path or URI
    tts: str  # see `parse_command`

    def __post_init__(self) -> None:
        parse_command(self.tts)


class SpeakStage(Stage):
    """Synthesize the speech of `text` of a row into the run folder, where `audio` of the row refers to it.

    No payload. Facts: `seconds` of the new speech. The result depends on the text only, so it can be shared. A text
    that was spoken before is not spoken again, so that a resumed run uses the same speech.

    Args:
        config: configuration of the stage.
    """

    name = "speak"
    resources = Resources(cpu=1.0, time_limit_s=3600.0)
    columns: ClassVar = {}

    def __init__(self, config: SpeakConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Find the program of the synthesizer.

        Raises:
            EnvironmentFault: `tts_missing`.
        """
        program, *self._arguments = parse_command(self.config.tts)
        found = shutil.which(program)
        if not found:
            problem = f"{program}: no such program; expected the speech synthesizer of the option tts"
            hint = " (Debian: apt install flite)" if self.config.tts in ENGINES else ""
            raise EnvironmentFault("tts_missing", f"{problem}: install it on each machine{hint}")
        self._program = found
        self._storage = open_storage(self.config.run)

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Speak one text at a time."""
        return map_each(batch, self._speak)

    def _speak(self, item: Item) -> Outcome:
        text = item.record.text
        if not text:
            return Ok(facts={"seconds": 0.0})
        path = speech_path(text)
        if self._storage.exists(path):
            return Ok(facts={"seconds": 0.0})
        with scratch_folder() as folder:
            sound = folder / "speech.wav"
            self._synthesize(text, folder / "text.txt", sound, item.record.id)
            seconds = probe_audio(sound).duration_s
            with self._storage.staging(path) as staged:
                shutil.copyfile(sound, staged)
        return Ok(facts={"seconds": seconds})

    def _synthesize(self, text: str, text_file: Path, sound: Path, record_id: str) -> None:
        """Run the synthesizer.

        Raises:
            InputError: `speech_failed`.
        """
        text_file.write_text(text, encoding="utf-8")
        files = {TEXT: str(text_file), SOUND: str(sound)}
        command = [self._program]
        for argument in self._arguments:
            for name, file in files.items():
                argument = argument.replace(name, file)
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
        problem = f"record {record_id}: {Path(self._program).name} could not speak its text ({result}: {said})"
        raise InputError("speech_failed", f"{problem}; expected a WAV file: check the text, or try the command by hand")
