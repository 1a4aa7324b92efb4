"""Decoding of picture files to uint8 RGB."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.errors import ConfigError, InputError

Image = NDArray[np.uint8]

MAX_PIXELS = 8192 * 8192
MAX_FILE_BYTES = 512 * 2**20
MIN_SIDE = 32

# Formats of Pillow that only decode. Others run programs (EPS calls Ghostscript) or read several files.
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "SUN", "TIFF", "WEBP")

# Formats that OpenCV supports and Pillow does not, with width and height in the header.
_OPENCV_HEADERS = (
    re.compile(rb"#\?RA(?:DIANCE|GBE)\n(?:.*\n)*?\n-Y (?P<height>\d+) \+X (?P<width>\d+)\n"),
    re.compile(rb"PF\s+(?P<width>\d+)\s+(?P<height>\d+)\s"),
    re.compile(rb"P7\n(?=(?:.*\n)*?WIDTH (?P<width>\d+)\n)(?=(?:.*\n)*?HEIGHT (?P<height>\d+)\n)(?:.*\n)*?ENDHDR\n"),
)
_HEADER_BYTES = 4096
_YCBCR = 6  # photometric interpretation of a TIFF

# Other files that are given as pictures: start of the content, kind, what to do.
_OTHER_KINDS = (
    (rb"(?s)....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)", "a HEIC picture", "convert it with `magick IN.heic OUT.png`"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", "convert it with `djxl IN.jxl OUT.png`"),
    (rb"(?s)....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", "a video", "save one of its frames as PNG"),
    (rb"version https://git-lfs", "a pointer of Git LFS", "fetch the picture with `git lfs pull`"),
    (rb"(?i)(?s)\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<svg", "an SVG drawing", "export it as PNG"),
    (rb"(?i)\s*<(?:!doctype|html|\?xml)", "a web page", "download the picture itself"),
    (rb"%PDF|8BPS", "a document of PDF or Photoshop", "export it as PNG"),
)

_QUIET = threading.Lock()

# Signature -> marker near the end of every complete file of the format.
_END_MARKS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND"}

_HASHED_SIDE, _HASHED_FREQUENCIES = 32, 8  # of `perceptual_hash`


def check_file(path: Path) -> None:
    """Check that a path is a regular file, before it is read as a picture or a video.

    Raises:
        InputError: `image_missing` or `image_unreadable`.
        OSError: the path cannot be looked up.
    """
    if not path.exists():
        raise InputError("image_missing", f"{path}: no such file; expected a picture: check the path")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise InputError("image_unreadable", f"{path}: this is {kind}; expected a picture file")


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Image:
    """Read a picture file, uint8 RGB (height, width, 3), of any format of `decode_image`, which explains the limits.

    Raises:
        InputError: `image_missing`, `image_unreadable`, `image_too_large` (also if the file exceeds 512 MiB), or raised
            by `decode_image`.
    """
    path = Path(path)
    try:
        check_file(path)
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            limit = f"{MAX_FILE_BYTES // 2**20} MiB"
            raise InputError("image_too_large", f"{path}: file has {size // 2**20} MiB; expected at most {limit}")
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError("image_unreadable", f"{path}: file cannot be read ({reason}): check its permissions") from None

    return decode_image(data, name=str(path), max_pixels=max_pixels, min_side=min_side)


def is_image(path: Path) -> bool:
    """Return whether a file starts like a picture that Pillow can decode."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with _quiet(), Pillow.open(path, formats=_FORMATS):
            return True
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return False


def decode_image(data: bytes, *, name: str, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Image:
    """Decode a picture.

    Supports JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PNM, PFM, PAM, Sun raster and Radiance HDR. Only the
    first frame or page is read. The EXIF orientation is applied, transparency is composed onto white, and deeper
    samples are reduced to 8 bits (floating point: 0 to 1 becomes 0 to 255, other values are clipped, as in OpenCV).
    Color profiles are not applied.

    Args:
        data: content of the file.
        name: name of the picture in error messages.
        max_pixels: maximum number of pixels, checked before decoding.
        min_side: minimum length of the shorter side, pixels.

    Returns:
        Picture, uint8 RGB (height, width, 3).

    Raises:
        InputError: `image_empty`, `image_unreadable`, `image_truncated`, `image_too_small` or `image_too_large`.
    """
    if not data:
        raise InputError("image_empty", f"{name}: file is empty; expected a picture")
    try:
        with _quiet():
            image = _decode_with_pillow(data, name, max_pixels, min_side)
            if image is None:
                image = _decode_with_opencv(data, name, max_pixels, min_side)
    except InputError:
        raise
    # Decoders raise all kinds of exceptions for damaged files.
    except Exception as error:
        if _ends_early(data, error):
            sentence = f"{name}: picture is cut off after {len(data)} bytes: copy or download it again"
            raise InputError("image_truncated", sentence) from error
        reason = str(getattr(error, "err", error)).strip() or type(error).__name__
        sentence = f"{name}: picture is damaged or of an unknown kind ({reason.splitlines()[0]}): save it anew as PNG"
        raise InputError("image_unreadable", sentence) from error

    if image is not None:
        return image
    if _ends_early(data, None):
        raise InputError("image_truncated", f"{name}: picture ends within its header: copy or download it again")
    expected = "expected JPEG, PNG, WebP, TIFF, BMP or similar"
    for start, kind, advice in _OTHER_KINDS:
        if re.match(start, data[:_HEADER_BYTES]):
            raise InputError("image_unreadable", f"{name}: this is {kind}; {expected}: {advice}")
    raise InputError("image_unreadable", f"{name}: not a picture (starts with {data[:8]!r}); {expected}")


def resize_to_limit(image: Image, max_side: int = 1280, division: int = 2) -> Image:
    """Scale a picture down to a maximum side and crop its sides to multiples of a number.

    As in LivePortrait, sizes are rounded down, rows and columns are cropped at the bottom and right, and nothing is
    cropped if a side would become zero.

    Args:
        image: picture, uint8 (height, width, 3).
        max_side: maximum side, pixels; 0 for no limit.
        division: divisor of both sides; H.264 with 4:2:0 color requires 2.

    Returns:
        Picture, uint8 (height, width, 3); the argument itself if nothing changes.

    Raises:
        ConfigError: `max_side` is negative or `division` below 1.
    """
    if max_side < 0 or division < 1:
        sentence = f"max_side {max_side} and division {division} found; expected at least 0 (no limit) and 1"
        raise ConfigError("resize_limit", sentence)
    height, width = image.shape[:2]
    if 0 < max_side < max(height, width):
        if height > width:
            height, width = max_side, int(width * (max_side / height))  # the factor is rounded first
        else:
            height, width = int(height * (max_side / width)), max_side
        size = (max(width, 1), max(height, 1))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    height, width = (side - side % division for side in image.shape[:2])
    return image[:height, :width] if height and width else image


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the decoders' warnings about damaged files, which are reported as errors.

    The switches affect the whole process, so only one thread decodes at a time.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log_level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(log_level)


def _decode_with_pillow(data: bytes, name: str, max_pixels: int, min_side: int) -> Image | None:
    """Decode with Pillow; return None if it does not support the format."""
    from PIL import Image as Pillow
    from PIL import ImageOps, TiffImagePlugin, UnidentifiedImageError

    try:
        picture = Pillow.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError:
        return None
    except Pillow.DecompressionBombError:
        limit = f"at most {max_pixels} pixels"
        raise InputError("image_too_large", f"{name}: picture is too large; expected {limit}: shrink it") from None
    with picture:
        _check_size(picture.size, name, max_pixels, min_side)
        if isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.tile[0][0] == "raw":
            if picture.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _YCBCR:
                return None  # Pillow 12 reads it as RGB
        picture.load()
        upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _to_rgb(np.asarray(upright))
    if upright.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in upright.info:
        with_alpha = upright.convert("RGBA")
        white = Pillow.new("RGBA", with_alpha.size, (255, 255, 255, 255))
        upright = Pillow.alpha_composite(white, with_alpha)
    return np.array(upright.convert("RGB"))


def _decode_with_opencv(data: bytes, name: str, max_pixels: int, min_side: int) -> Image | None:
    """Decode with OpenCV; return None unless only OpenCV supports the format."""
    header = data[:_HEADER_BYTES]
    match = next(filter(None, (pattern.match(header) for pattern in _OPENCV_HEADERS)), None)
    size = (int(match["width"]), int(match["height"])) if match else _tiff_size(data)
    if size is None:
        return None
    _check_size(size, name, max_pixels, min_side)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise ValueError("OpenCV cannot decode it")
    if decoded.ndim == 3:
        decoded = np.ascontiguousarray(decoded[..., [2, 1, 0, 3][: decoded.shape[2]]])
    return _to_rgb(decoded)


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a TIFF whose sample type Pillow does not support."""
    from PIL import TiffImagePlugin

    if data[:4] not in (b"II*\0", b"MM\0*"):
        return None
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    if not {TiffImagePlugin.IMAGEWIDTH, TiffImagePlugin.IMAGELENGTH} <= set(tags):
        raise ValueError("truncated or damaged TIFF directory")
    return int(tags[TiffImagePlugin.IMAGEWIDTH]), int(tags[TiffImagePlugin.IMAGELENGTH])


def _check_size(size: tuple[int, int], name: str, max_pixels: int, min_side: int) -> None:
    width, height = size
    if width * height > max_pixels:
        limit = f"at most {max_pixels} pixels"
        raise InputError("image_too_large", f"{name}: picture is {width}x{height}; expected {limit}: shrink it")
    if min(size) < min_side:
        limit = f"at least {min_side}x{min_side}"
        sentence = f"{name}: picture is {width}x{height} pixels; expected {limit}: use a larger picture"
        raise InputError("image_too_small", sentence)


def _to_rgb(samples: NDArray[Any]) -> Image:
    """Convert gray, RGB or RGBA samples of any type to uint8 RGB; compose transparency onto white."""
    if np.issubdtype(samples.dtype, np.floating):
        if not np.isfinite(samples).all():
            raise ValueError("some samples are infinite or not a number; expected 0 to 1")
        if (middle := float(np.median(samples))) > 1:  # highlights may be brighter than white, a whole picture is not
            raise ValueError(f"its floating-point samples have a median of {middle:.4g}; expected 0 to 1")
        samples = np.rint(np.clip(samples, 0, 1) * 255)
    elif samples.dtype != np.uint8:
        # Pillow gives the samples of some 16-bit pictures as 32 bits; small numbers in 32 bits have an unknown white.
        if samples.dtype.itemsize > 2 and not (samples.min() >= 0 and 255 < samples.max() <= 65535):
            raise ValueError("its samples have 32 bits; expected 8, 16 or floating point")
        samples = samples >> 8
    levels = samples.astype(np.uint8).reshape(*samples.shape[:2], -1)
    if levels.shape[2] == 1:
        return np.repeat(levels, 3, axis=2)
    if levels.shape[2] == 4:
        opacity = levels[..., 3:].astype(np.uint16)
        flattened = levels[..., :3] * opacity + 255 * (255 - opacity)
        return ((flattened + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(levels)


def _ends_early(data: bytes, error: Exception | None) -> bool:
    if "truncated" in str(error):
        return True
    return any(data.startswith(start) and mark not in data[-1024:] for start, mark in _END_MARKS.items())


def perceptual_hash(image: Image) -> str:
    """Return 64 bits, as 16 hexadecimal digits, in which scaled or compressed copies of a picture hardly differ.

    The bits are signs of the lowest 8x8 frequencies of the gray picture relative to their median, the DCT based hash of
    Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions".

    Args:
        image: uint8 RGB (height, width, 3).
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(gray, (_HASHED_SIDE, _HASHED_SIDE), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:_HASHED_FREQUENCIES, :_HASHED_FREQUENCIES]
    return np.packbits(low > np.median(low)).tobytes().hex()
