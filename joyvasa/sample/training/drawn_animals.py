"""Faces of animals drawn by chance, with exact landmarks: training data of any amount, and pictures for examples."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from joyvasa.sample.networks.animal_landmarks import LANDMARKS

SIDE = 320  # pixels of a drawing
UNIT = 52.0  # size of a drawn face, see `joyvasa.sample.networks.animal_landmarks`
EYES_AT = (160.0, 150.0)  # middle of the eyes in the drawing
SHIFT = 4  # fractional bits of coordinates in OpenCV's drawing functions
Color = tuple[float, float, float]
Array = np.ndarray


@dataclass(frozen=True)
class AnimalDrawing:
    """A drawn animal."""

    image: Array  # uint8 RGB (SIDE, SIDE, 3) on a plain background
    mask: Array  # uint8 (SIDE, SIDE), 255 inside the animal
    points: Array  # landmarks (15, 2) in pixels, in the order of `LANDMARKS`


@dataclass
class _Canvas:
    """A picture that is drawn with the colors of one animal."""

    r: np.random.Generator
    fur: Color
    light: Color
    dark: Color
    image: Array
    mask: Array = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.uint8))

    def fill(self, polygon: Array, color: Color, *, outline: Color | None = None, solid: bool = True) -> None:
        """Fill a polygon (n, 2) in units; `solid` parts belong to the animal's mask."""
        points = np.round(_pixels(polygon) * 2**SHIFT).astype(np.int32)
        cv2.fillPoly(self.image, [points], color, cv2.LINE_AA, SHIFT)
        if solid:
            cv2.fillPoly(self.mask, [points], 255, cv2.LINE_AA, SHIFT)
        if outline is not None:
            cv2.polylines(self.image, [points], True, outline, 2, cv2.LINE_AA, SHIFT)

    def line(self, points: Array, color: Color, width: int) -> None:
        """Draw a line through points (n, 2) in units."""
        fixed = np.round(_pixels(points) * 2**SHIFT).astype(np.int32)
        cv2.polylines(self.image, [fixed], False, color, width, cv2.LINE_AA, SHIFT)


def draw_animal(r: np.random.Generator) -> AnimalDrawing:
    """Draw a random animal: a head with ears, eyes, muzzle, nose and mouth, and the beginning of a body."""
    fur, light, dark = _draw_palette(r)
    background = np.full((SIDE, SIDE, 3), r.uniform(40, 240, 3), np.float32).round().astype(np.uint8)
    canvas = _Canvas(r, fur, light, dark, background)
    outline = dark if r.random() < 0.3 else None
    turn = r.normal(0, 0.09)  # shift of the muzzle when the head is turned aside, units

    # Proportions in units. The unit is the mean of `apart` and `mouth_y`.
    apart = r.uniform(0.65, 1.35)
    mouth_y = 2 - apart
    eye = np.array([apart / 2, 0.0])
    eye_height = r.uniform(0.07, 0.2) * (1 if r.random() < 0.7 else 1.5)
    mouth = np.array([turn, mouth_y])
    half_mouth = r.uniform(0.12, 0.55)
    chin_y = mouth_y + r.uniform(0.2, 0.45)
    half_width = max(apart / 2 + eye_height + r.uniform(0.1, 0.7), half_mouth + 0.2)
    top = -r.uniform(0.5, 1.3)
    jaw_width = max(half_mouth + 0.12, half_width * r.uniform(0.45, 1.0))

    _draw_body(canvas, half_width, chin_y)
    _draw_ears(canvas, half_width, top, outline)
    head = _outline_head(r, half_width, jaw_width, top, mouth_y, chin_y)
    canvas.fill(head, fur, outline=outline)
    _draw_markings(canvas, half_width, top, chin_y)

    # Muzzle.
    nose_y = mouth_y * r.uniform(0.45, 0.85)
    if r.random() < 0.75:
        center = np.array([turn * 0.9, (nose_y + chin_y) / 2])
        size = (half_mouth + r.uniform(0.05, 0.25), (chin_y - nose_y) / 2 + r.uniform(0.0, 0.2))
        canvas.fill(_ellipse(center, *size), light, outline=outline if r.random() < 0.5 else None)
    _add_fur(canvas)

    style = _draw_eye_style(r)
    for side in (-1, 1):
        _draw_eye(canvas, style, np.array([side * eye[0], 0.0]), eye_height)
    upper, lower = _draw_mouth(canvas, mouth, half_mouth)
    _draw_nose(canvas, np.array([turn, nose_y]), mouth[1] - nose_y)
    if r.random() < 0.4:
        for side in (-1, 1):
            for slope in r.uniform(-0.3, 0.4, 3):
                start = mouth + np.array([side * half_mouth * 0.7, -0.1])
                end = start + np.array([side * r.uniform(0.5, 1.1), slope])
                canvas.line(np.stack([start, end]), light if r.random() < 0.6 else dark, 1)

    named = {
        "right_upper_lid": (-eye[0], -eye_height),
        "right_lower_lid": (-eye[0], eye_height),
        "left_upper_lid": (eye[0], -eye_height),
        "left_lower_lid": (eye[0], eye_height),
        "nose": (turn, nose_y),
        "right_corner": (turn - half_mouth, mouth_y),
        "left_corner": (turn + half_mouth, mouth_y),
        "upper_lip": upper,
        "lower_lip": lower,
        "chin": (turn * 0.6, max(chin_y, lower[1] + 0.12)),
        "forehead": (0, top),
        "right_side": (-half_width, nose_y * 0.5),
        "left_side": (half_width, nose_y * 0.5),
        "right_jaw": (-jaw_width, mouth_y),
        "left_jaw": (jaw_width, mouth_y),
    }
    points = _pixels(np.array([named[name] for name in LANDMARKS], np.float64))
    return AnimalDrawing(_shade(canvas), canvas.mask, points)


def _pixels(units: Array) -> Array:
    return np.asarray(units) * UNIT + EYES_AT


def _ellipse(center: Array, width: float, height: float, *, power: float = 2.0) -> Array:
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    cos, sin = np.cos(angles), np.sin(angles)
    shape = np.column_stack([np.sign(cos) * np.abs(cos) ** (2 / power), np.sign(sin) * np.abs(sin) ** (2 / power)])
    return center + shape * [width, height]


def _draw_palette(r: np.random.Generator) -> tuple[Color, Color, Color]:
    """Return colors of fur, of light parts, and of dark parts."""
    vivid = r.random() < 0.25
    hue = r.uniform(0, 180) if vivid else r.normal(14, 7) % 180
    saturation, value = (r.uniform(90, 220), r.uniform(140, 255)) if vivid else (r.uniform(0, 150), r.uniform(40, 245))

    def color(saturation: float, value: float) -> Color:
        pixel = np.array([[[hue, np.clip(saturation, 0, 255), np.clip(value, 0, 255)]]], np.uint8)
        red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].tolist()
        return (red, green, blue)

    light = color(saturation * r.uniform(0, 0.6), value + r.uniform(20, 120))
    return color(saturation, value), light, color(saturation * 0.6, min(value * 0.4, r.uniform(10, 70)))


def _outline_head(
    r: np.random.Generator, half_width: float, jaw_width: float, top: float, mouth_y: float, chin_y: float
) -> Array:
    """Return the outline of a head as a smooth curve, (64, 2) in units."""
    oval = _ellipse(np.zeros(2), 1.0, 1.0, power=r.uniform(2, 3.2))
    above = oval[:, 1] < 0
    height = np.where(above, -top, chin_y)
    along = np.clip(oval[:, 1] * height / max(mouth_y, 0.1), 0, 1)
    width = np.where(above, half_width, half_width + (jaw_width - half_width) * along)
    cheek = r.uniform(0, 0.25) * np.exp(-(((along - 0.6) / 0.3) ** 2)) * ~above
    return oval * np.column_stack([width + cheek, height])


def _draw_ears(canvas: _Canvas, half_width: float, top: float, outline: Color | None) -> None:
    r, light, dark = canvas.r, canvas.light, canvas.dark
    kind = r.choice(["pointed", "round", "floppy", "long", "none"], p=[0.35, 0.27, 0.18, 0.12, 0.08])
    inner, size = (light if r.random() < 0.6 else dark), r.uniform(0.35, 0.8)
    for side in (-1, 1):
        base = np.array([side * half_width * r.uniform(0.55, 0.8), top * 0.7])
        if kind == "pointed":
            tip = base + np.array([side * r.uniform(0, 0.5) * size, -1.3 * size])
            ear = np.stack([base - np.array([0.45 * size, 0]), tip, base + np.array([0.45 * size, 0.1])])
        elif kind == "round":
            ear = _ellipse(base + np.array([side * 0.2, -0.2]), 0.6 * size, 0.6 * size)
        elif kind == "floppy":
            ear = _ellipse(base + np.array([side * 0.4 * size, 0.8 * size]), 0.4 * size, 0.95 * size)
        elif kind == "long":
            ear = _ellipse(base + np.array([side * 0.1, -1.0 * size]), 0.28 * size, 1.2 * size)
        else:
            continue
        canvas.fill(ear, canvas.fur if r.random() < 0.8 else dark, outline=outline)
        middle = ear.mean(0)
        canvas.fill(middle + (ear - middle) * 0.6, inner)


def _draw_body(canvas: _Canvas, half_width: float, chin_y: float) -> None:
    r = canvas.r
    if r.random() < 0.2:
        return
    wide = half_width * r.uniform(0.5, 1.3)
    canvas.fill(_ellipse(np.array([r.normal(0, 0.3), chin_y + 1.2]), wide, 1.9), canvas.fur)
    if r.random() < 0.4:
        canvas.fill(_ellipse(np.array([0, chin_y + 1.0]), wide * 0.5, 1.2), canvas.light)


def _draw_markings(canvas: _Canvas, half_width: float, top: float, chin_y: float) -> None:
    r, light, dark = canvas.r, canvas.light, canvas.dark
    before = canvas.image.copy()
    kind = r.choice(["none", "blaze", "patches", "stripes", "spots", "face"], p=[0.3, 0.15, 0.15, 0.15, 0.1, 0.15])
    if kind == "blaze":
        canvas.fill(_ellipse(np.zeros(2), r.uniform(0.08, 0.3), r.uniform(0.5, 1.2)), light, solid=False)
    elif kind == "patches":
        for side in (-1, 1):
            center = np.array([side * r.uniform(0.35, 0.6), 0.0])
            canvas.fill(_ellipse(center, r.uniform(0.2, 0.35), r.uniform(0.2, 0.4)), dark, solid=False)
    elif kind == "stripes":
        for x in r.uniform(-half_width, half_width, 7):
            points = np.array([[x, top], [x * 0.6, top * 0.3]])
            canvas.line(points, dark, int(r.integers(2, 6)))
    elif kind == "spots":
        for x, y in np.column_stack([r.uniform(-1, 1, 25) * half_width, r.uniform(top, chin_y, 25)]):
            canvas.fill(_ellipse(np.array([x, y]), 0.05, 0.05), dark, solid=False)
    elif kind == "face":
        canvas.fill(_ellipse(np.array([0, 0.4]), half_width * 0.8, 1.0), light, solid=False)
    inside = canvas.mask[..., None] > 0
    canvas.image[:] = np.where(inside, canvas.image, before)


@dataclass(frozen=True)
class _Eyes:
    """Look of both eyes."""

    width: float  # relative to the height
    iris: Color | None  # None: a dark bead
    pupil: float  # width relative to the iris


def _draw_eye_style(r: np.random.Generator) -> _Eyes:
    colors: list[Color] = [(200, 170, 60), (120, 160, 90), (110, 150, 190), (110, 70, 30)]
    iris = None if r.random() < 0.5 else colors[int(r.integers(len(colors)))]
    return _Eyes(width=r.uniform(0.6, 1.4), iris=iris, pupil=r.uniform(0.2, 0.7))


def _draw_eye(canvas: _Canvas, style: _Eyes, at: Array, height: float) -> None:
    width = height * style.width
    if style.iris is None:
        canvas.fill(_ellipse(at, width, height), (18, 14, 14), solid=False)
    else:
        canvas.fill(_ellipse(at, width * 1.12, height * 1.08), canvas.dark, solid=False)
        canvas.fill(_ellipse(at, width, height), style.iris, solid=False)
        canvas.fill(_ellipse(at, width * style.pupil, height * 0.8), (8, 8, 8), solid=False)
    glint = _ellipse(at + np.array([0.25 * height, -0.3 * height]), 0.2 * height, 0.2 * height)
    canvas.fill(glint, (245, 245, 245), solid=False)


def _draw_nose(canvas: _Canvas, at: Array, room: float) -> None:
    r, dark = canvas.r, canvas.dark
    width, height = r.uniform(0.1, 0.28), min(r.uniform(0.07, 0.2), max(room * 0.8, 0.05))
    color = dark if r.random() < 0.65 else (r.uniform(150, 230), r.uniform(80, 130), r.uniform(90, 140))
    if r.random() < 0.5:
        corners = np.array([[-width, -height], [width, -height], [0.4 * width, 0.6 * height], [0, height]])
        shape = np.concatenate([corners, corners[2:3] * [-1, 1]]) + at
    else:
        shape = _ellipse(at, width, height, power=r.uniform(2, 3))
    canvas.fill(shape, color, solid=False)
    if r.random() < 0.4:
        for side in (-1, 1):
            nostril = _ellipse(at + np.array([side * width * 0.5, 0]), width * 0.2, height * 0.3)
            canvas.fill(nostril, (10, 8, 8), solid=False)
    if room > 0.15 and r.random() < 0.7:
        canvas.line(np.array([at + np.array([0, height * 0.6]), at + np.array([0, room])]), dark, 2)


def _draw_mouth(canvas: _Canvas, at: Array, half: float) -> tuple[Array, Array]:
    """Draw the mouth; return the middles of the inner edges of the upper and the lower lip, in units."""
    r, dark = canvas.r, canvas.dark
    across = np.linspace(-1, 1, 21)
    bend = r.choice([0.0, 1.0, 2.0], p=[0.3, 0.4, 0.3])  # straight, smile, two arcs
    if bend == 2.0:
        curve = 0.2 * half * np.abs(np.sin(np.pi * across)) * r.uniform(0.3, 1.3)
    else:
        curve = (bend * r.uniform(-0.15, 0.35) + r.normal(0, 0.03)) * half * (1 - across**2)
    line = np.column_stack([at[0] + half * across, at[1] + curve])
    upper = line[10].copy()
    if r.random() < 0.72:
        canvas.line(line, dark, int(r.integers(1, 5)))
        return upper, upper + np.array([0, 0.015])

    opening = r.uniform(0.1, 0.5) * half + 0.05
    lower = np.column_stack([line[:, 0], line[:, 1] + opening * (1 - across**2)])
    canvas.fill(np.concatenate([line, lower[::-1]]), (r.uniform(20, 90), 14, 18), solid=False)
    tongue = _ellipse(upper + np.array([0, opening * 0.75]), half * 0.45, opening * 0.25)
    canvas.fill(tongue, (r.uniform(150, 220), 80, 90), solid=False)
    canvas.line(line, dark, 2)
    return upper, lower[10]


def _add_fur(canvas: _Canvas) -> None:
    """Add strands of fur to the whole animal."""
    r = canvas.r
    strength = r.choice([0.0, r.uniform(4, 30)], p=[0.25, 0.75])
    noise = r.normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=r.uniform(0.4, 1.2), sigmaY=r.uniform(1, 4))
    noise = (noise / noise.std() * strength)[..., None]
    inside = canvas.mask[..., None].astype(np.float32) / 255
    canvas.image[:] = (canvas.image + inside * noise).clip(0, 255).astype(np.uint8)


def _shade(canvas: _Canvas) -> Array:
    """Return the picture with soft light from one side."""
    r = canvas.r
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE - 0.5
    angle = r.uniform(0, 2 * np.pi)
    light = 1 + r.uniform(0, 0.5) * (np.cos(angle) * x + np.sin(angle) * y)
    rounded = 1 - r.uniform(0, 0.5) * np.hypot(x, y + 0.05)
    image = canvas.image * (light * rounded)[..., None]
    return cv2.GaussianBlur(image.clip(0, 255).astype(np.uint8), (0, 0), r.uniform(0.4, 1.0))
