import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from joyvasa.errors import ConfigError, InputError
from joyvasa.media.image import decode_image, perceptual_hash, read_image, resize_to_limit
from tests.media import EXAMPLES


@pytest.fixture
def picture() -> np.ndarray:
    """Return a smooth picture with different corners, 60 wide and 40 high."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([40 + 3 * x, 50 + 4 * y, 220 - 2 * x], axis=-1).astype(np.uint8)


def error_of(path, **limits) -> InputError:
    with pytest.raises(InputError) as caught:
        read_image(path, **limits)
    assert str(path) in caught.value.sentence
    assert "\n" not in caught.value.sentence
    return caught.value


def png_with_header(width: int, height: int) -> bytes:
    """Return a PNG whose header claims a size that its data do not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", ["png", "bmp", "ppm", "tiff", "jpg", "webp", "jp2", "avif", "gif", "sr", "pam"])
def test_formats_of_opencv_are_read_as_rgb(tmp_path, picture, ending):
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), picture[..., ::-1])
    actual = read_image(path)
    assert actual.dtype == np.uint8
    assert actual.flags.c_contiguous
    expected = cv2.imread(str(path))[..., ::-1].astype(int)
    assert np.abs(actual - expected).max() <= (3 if ending in ("jpg", "avif", "jp2", "webp") else 0)
    assert np.abs(actual.astype(int) - picture).mean() < 20


@pytest.mark.parametrize("ending", ["hdr", "pfm", "tiff"])
def test_floating_point_pictures_map_0_to_1_onto_8_bits(tmp_path, picture, ending):
    samples = picture.astype(np.float32) / 255
    samples[0, 0] = (7.5, 0.5, 0.5)
    path = tmp_path / f"a.{ending}"
    assert cv2.imwrite(str(path), samples[..., ::-1])
    actual = read_image(path)
    assert actual[0, 0, 0] == 255
    assert np.abs(actual.astype(int) - picture)[1:].max() <= (2 if ending == "hdr" else 0)


def test_gray_floating_point_picture_is_read(tmp_path, picture):
    path = tmp_path / "a.pfm"
    cv2.imwrite(str(path), picture[..., 0].astype(np.float32) / 255)
    np.testing.assert_array_equal(read_image(path), np.repeat(picture[..., :1], 3, axis=2))


@pytest.mark.parametrize("factor", [1.0, 257.0])
def test_floating_point_pictures_of_another_range_are_refused(tmp_path, picture, factor):
    """They would be white."""
    Pillow.fromarray(picture[..., 0].astype(np.float32) * factor).save(tmp_path / "a.tiff")
    with pytest.raises(
        InputError, match=r"image_unreadable: .* floating-point samples have a median of .*expected 0 to 1"
    ):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floating_point_pictures_with_infinite_samples_are_refused(tmp_path, picture, value):
    samples = picture[..., 0].astype(np.float32) / 255
    samples[3, 4] = value
    Pillow.fromarray(samples).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"image_unreadable: .*infinite or not a number"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("factor", [1, 70_000])
def test_pictures_with_samples_of_32_bits_are_refused(tmp_path, picture, factor):
    """Those with the numbers of 8 bits would be black."""
    Pillow.fromarray(picture[..., 0].astype(np.int32) * factor).save(tmp_path / "a.tiff")
    with pytest.raises(InputError, match=r"image_unreadable: .*its samples have 32 bits"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("ending", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_pictures_have_the_same_brightness(tmp_path, picture, ending, channels):
    samples = np.concatenate([picture, np.full_like(picture[..., :1], 255)], axis=2)[..., :channels]
    stored = samples.astype(np.uint16) * 257
    path = tmp_path / f"a.{ending}"
    order = [2, 1, 0, 3] if channels > 1 else [0]
    cv2.imwrite(str(path), stored[..., order[:channels]])
    expected = picture if channels > 1 else np.repeat(picture[..., :1], 3, axis=2)
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize(
    ("ending", "mode"),
    [("tiff", mode) for mode in ("1", "L", "P", "CMYK", "YCbCr")]
    + [("png", mode) for mode in ("1", "L", "P")]
    + [("jpg", mode) for mode in ("L", "CMYK", "YCbCr")],
)
def test_other_color_models_become_rgb(tmp_path, picture, ending, mode):
    source = Pillow.fromarray(picture)
    path = tmp_path / f"a.{ending}"
    source.convert(mode).save(path, **({"quality": 95} if ending == "jpg" else {}))
    actual = read_image(path)
    assert actual.shape == picture.shape
    expected = np.asarray(source.convert(mode).convert("RGB")).astype(int)
    assert np.abs(actual - expected).max() <= {"jpg": 30, "tiff": 1}.get(ending, 0)  # OpenCV rounds YCbCr differently
    if mode == "CMYK":
        assert np.abs(actual.astype(int) - picture).mean() < 8


def test_transparency_is_flattened_onto_white(tmp_path, picture):
    alpha = np.zeros((40, 60, 1), np.uint8)
    alpha[:, 20:40], alpha[:, 40:] = 128, 255
    Pillow.fromarray(np.concatenate([picture, alpha], axis=2)).save(tmp_path / "a.png")
    actual = read_image(tmp_path / "a.png")
    assert (actual[:, :20] == 255).all()
    np.testing.assert_array_equal(actual[:, 40:], picture[:, 40:])
    half = (picture[:, 20:40].astype(float) * 128 + 255 * 127) / 255
    assert np.abs(actual[:, 20:40] - half).max() <= 1


def test_transparent_color_of_a_palette_becomes_white(tmp_path):
    indices = Pillow.fromarray(np.repeat([[0, 1]], 40, axis=0).repeat(20, axis=1).astype(np.uint8), mode="P")
    indices.putpalette([200, 0, 0, 0, 0, 200])
    indices.save(tmp_path / "a.png", transparency=1)
    actual = read_image(tmp_path / "a.png")
    assert tuple(actual[5, 5]) == (200, 0, 0)
    assert tuple(actual[5, 35]) == (255, 255, 255)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, picture, orientation, ending):
    upright = Pillow.fromarray(picture)
    turns = Pillow.Transpose
    stored = {
        1: None,
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_90,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_270,
    }[orientation]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if ending == "jpg" else {"lossless": True} if ending == "webp" else {}
    (upright.transpose(stored) if stored is not None else upright).save(tmp_path / f"a.{ending}", exif=exif, **options)
    actual = read_image(tmp_path / f"a.{ending}")
    assert actual.shape == picture.shape
    assert np.abs(actual.astype(int) - picture).max() <= (12 if ending == "jpg" else 0)


def test_first_frame_of_an_animation_is_read(tmp_path, picture):
    first = Pillow.fromarray(picture)
    first.save(tmp_path / "a.webp", save_all=True, append_images=[Pillow.fromarray(255 - picture)], lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "a.webp"), picture)


def test_missing_file_is_named(tmp_path):
    assert error_of(tmp_path / "none.png").code == "image_missing"


def test_folder_is_not_a_picture(tmp_path):
    error = error_of(tmp_path)
    assert error.code == "image_unreadable"
    assert "folder" in error.sentence


def test_empty_file_is_rejected(tmp_path):
    (tmp_path / "a.png").touch()
    assert error_of(tmp_path / "a.png").code == "image_empty"


@pytest.mark.parametrize("content", [b"not a picture\n" * 40, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n"])
def test_text_and_postscript_are_rejected(tmp_path, content, capfd):
    (tmp_path / "a.png").write_bytes(content)
    assert error_of(tmp_path / "a.png").code == "image_unreadable"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.98])
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff", "bmp"])
def test_truncated_files_are_rejected_without_output(tmp_path, ending, share, capfd):
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    path = tmp_path / f"a.{ending}"
    Pillow.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    codes = {"image_truncated"} if ending in ("jpg", "png") else {"image_truncated", "image_unreadable"}
    assert error_of(path).code in codes
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ending", ["hdr", "pam", "pfm"])
def test_truncated_files_of_opencv_formats_are_rejected(tmp_path, picture, ending, capfd):
    samples = picture if ending == "pam" else picture.astype(np.float32)
    path = tmp_path / f"a.{ending}"
    cv2.imwrite(str(path), samples)
    path.write_bytes(path.read_bytes()[:400])
    assert error_of(path).code in {"image_truncated", "image_unreadable"}
    assert capfd.readouterr() == ("", "")


def test_damaged_content_never_escapes_as_another_error(picture):
    rng = np.random.default_rng(0)
    for ending in (".jpg", ".png", ".tiff", ".webp", ".gif", ".jp2", ".hdr", ".pam"):
        _, encoded = cv2.imencode(ending, picture)
        for _ in range(30):
            damaged = encoded.ravel().copy()
            damaged[rng.integers(0, damaged.size, 6)] = rng.integers(0, 256, 6)
            try:
                image = decode_image(damaged.tobytes(), name="damaged", max_pixels=10**6)
            except InputError:
                continue
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3


def test_one_pixel_is_too_small(tmp_path):
    Pillow.new("RGB", (1, 1)).save(tmp_path / "a.png")
    error = error_of(tmp_path / "a.png")
    assert error.code == "image_too_small"
    assert "1x1" in error.sentence
    assert read_image(tmp_path / "a.png", min_side=1).shape == (1, 1, 3)


@pytest.mark.parametrize("size", [(20000, 20000), (40000, 9000), (9000, 9000), (2**31 - 1, 2**31 - 1)])
def test_large_pictures_are_rejected_by_their_header(tmp_path, size, capfd):
    (tmp_path / "a.png").write_bytes(png_with_header(*size))
    assert error_of(tmp_path / "a.png").code == "image_too_large"
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "header",
    [
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 20000 +X 20000\n",
        b"PF\n20000 20000\n-1.0\n",
        b"P7\nWIDTH 20000\nHEIGHT 20000\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n",
        b"P6 20000 20000 255\n",
    ],
)
def test_large_pictures_with_text_headers_are_rejected(header):
    with pytest.raises(InputError, match="image_too_large"):
        decode_image(header + b"\0" * 100, name="a")


def test_the_limit_of_opencv_is_reported():
    header = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 40000 +X 40000\n"
    with pytest.raises(InputError, match="image_unreadable"):
        decode_image(header + b"\0" * 100, name="a", max_pixels=10**12)


def test_limits_can_be_set(tmp_path, picture):
    Pillow.fromarray(picture).save(tmp_path / "a.png")
    assert error_of(tmp_path / "a.png", max_pixels=2399).code == "image_too_large"
    assert error_of(tmp_path / "a.png", min_side=41).code == "image_too_small"
    assert read_image(tmp_path / "a.png", max_pixels=2400, min_side=40).shape == (40, 60, 3)


@pytest.mark.parametrize(("size", "limits", "expected"), [((5, 9), (0, 2), (4, 8)), ((2000, 3), (100, 2), (100, 1))])
def test_sides_are_cropped_to_multiples_unless_one_becomes_zero(size, limits, expected):
    assert resize_to_limit(np.zeros((*size, 3), np.uint8), *limits).shape[:2] == expected


def test_sides_have_at_least_one_pixel():
    assert resize_to_limit(np.zeros((4000, 1, 3), np.uint8)).shape == (1280, 1, 3)


def test_invalid_limits_are_rejected():
    with pytest.raises(ConfigError, match="resize_limit"):
        resize_to_limit(np.zeros((4, 4, 3), np.uint8), division=0)


def test_threads_do_not_change_the_settings_of_the_process(tmp_path, picture):
    Pillow.fromarray(picture).save(tmp_path / "a.png")
    before = list(warnings.filters), cv2.utils.logging.getLogLevel()
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(read_image, [tmp_path / "a.png"] * 40))
    assert (list(warnings.filters), cv2.utils.logging.getLogLevel()) == before
    assert all((image == picture).all() for image in images)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "a HEIC picture; .*: convert it with `magick"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL picture"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "a video; .*: save one of its frames"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81", "a video"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "a pointer of Git LFS; .*git lfs pull"),
        (b'<?xml version="1.0"?>\n<svg width="9">', "an SVG drawing"),
        (b"<!DOCTYPE html><html><body>404", "a web page"),
        (b"%PDF-1.7\n", "a document of PDF or Photoshop"),
    ],
)
def test_other_kinds_of_files_are_named_with_what_to_do(start, words):
    with pytest.raises(InputError, match=rf"image_unreadable: me: this is {words}"):
        decode_image(start + bytes(400), name="me")


def test_perceptual_hashes_of_copies_are_closer_than_those_of_other_portraits():
    def count_different_bits(a, b):
        return (int(a, 16) ^ int(b, 16)).bit_count()

    pictures = [read_image(EXAMPLES / name) for name in ("portrait.jpg", "portrait_2.jpg", "astronaut.jpg")]
    hashes = [perceptual_hash(picture) for picture in pictures]
    assert all(len(text) == 16 for text in hashes)
    for picture, expected in zip(pictures, hashes, strict=True):
        small = cv2.resize(picture, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
        coded = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)
        for copy in (small, coded):
            assert count_different_bits(perceptual_hash(copy), expected) <= 3
    assert min(count_different_bits(hashes[0], other) for other in hashes[1:]) >= 10
