"""Lines of a UTF-8 file, with their numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from manifests.formats.block import OpenFile, RowFault
from manifests.problems import ManifestError

MAX_LINE_BYTES = 1 << 20  # a row of paths has some hundred bytes; bounds memory for broken files
UTF8_BOM = b"\xef\xbb\xbf"
OTHER_ENCODINGS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


class Lines(Iterator[str]):
    """Iterates over lines and keeps the position of the next line.

    An overlong line is replaced by an empty one, and invalid UTF-8 by replacement characters; `take_fault` returns the
    fault.

    Args:
        file: seekable binary file.
        offset: offset of the first line in bytes.
        number: number of the first line, counted from 1.
    """

    def __init__(self, file: BinaryIO, *, offset: int = 0, number: int = 1) -> None:
        self._file = file
        self._fault: RowFault | None = None
        self.seek(offset, number)

    def seek(self, offset: int, number: int) -> None:
        """Move to a line."""
        self._file.seek(offset)
        self.offset = offset  # of the next line, in bytes
        self.number = number  # of the next line

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE_BYTES)
        if not line:
            raise StopIteration
        self.offset += len(line)
        self.number += 1
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            self._fault = RowFault("line_too_long", f"has more than {MAX_LINE_BYTES} bytes in one line", line[:200])
            self._skip_rest()
            return "\n"
        try:
            return line.decode("utf-8")
        except UnicodeDecodeError as error:
            self._fault = RowFault("not_utf8", f"is not UTF-8 (byte {error.start + 1}): save the file as UTF-8", line)
            return line.decode("utf-8", "replace")

    def take_fault(self) -> RowFault | None:
        """Return and clear the last fault since the previous call."""
        fault, self._fault = self._fault, None
        return fault

    def _skip_rest(self) -> None:
        while chunk := self._file.readline(MAX_LINE_BYTES):
            self.offset += len(chunk)
            if chunk.endswith(b"\n"):
                return


def find_text(name: str, open_file: OpenFile) -> tuple[int, OpenFile]:
    """Find the start of the text and the form of its line ends.

    Returns:
        Offset of the text: 3 after a UTF-8 byte order mark, otherwise 0; and a function that opens the file with line
        feeds at the ends of lines, also where they are carriage returns.

    Raises:
        ManifestError: `manifest_encoding` for UTF-16, `manifest_empty` for an empty file.
    """
    with open_file() as file:
        head = file.readline(MAX_LINE_BYTES)
    if not head:
        raise ManifestError("manifest_empty", f"{name}: holds no byte; expected rows: check how it was created")
    for mark, encoding in OTHER_ENCODINGS:
        if head.startswith(mark):
            raise ManifestError("manifest_encoding", f"{name}: is {encoding}; expected UTF-8: save it as UTF-8")

    first, carriage_return, rest = head.partition(b"\r")
    is_line_end = carriage_return and rest[:1] != b"\n" and first.count(b'"') % 2 == 0
    start = len(UTF8_BOM) if head.startswith(UTF8_BOM) else 0

    def open_with_line_feeds() -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_LineFeeds(open_file()), MAX_LINE_BYTES))

    return start, open_with_line_feeds if is_line_end else open_file


class _LineFeeds(io.RawIOBase):
    """Replaces carriage returns by line feeds, so that all offsets stay the same."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        content = self._file.read(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()
