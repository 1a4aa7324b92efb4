"""Plots of generated and true motion."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.training.generation import GeneratedMotion

WIDTH, PANEL_HEIGHT, MARGIN = 960, 120, 40
BACKGROUND, TEXT, GRID = (255, 255, 255), (60, 60, 60), (225, 225, 225)  # RGB
TRUE, GENERATED = (150, 150, 150), (210, 70, 30)
EXPRESSION_PANELS = 3  # panels for the coordinates that move most
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42


def plot_motion(motion: GeneratedMotion, title: str) -> np.ndarray:
    """Plot curves over time: the true motion gray, the generated one red.

    Returns:
        Picture, RGB, uint8, shape (height, 960, 3).
    """
    curves = _select_curves(motion)
    picture = np.full((MARGIN + PANEL_HEIGHT * len(curves), WIDTH, 3), BACKGROUND, np.uint8)
    _draw_text(picture, f"{title}   gray: true   red: generated", (MARGIN, MARGIN - 14))
    for number, (name, (true, generated)) in enumerate(curves.items()):
        top = MARGIN + number * PANEL_HEIGHT
        _draw_panel(picture[top : top + PANEL_HEIGHT - 10], name, true, generated)
    return picture


def encode_png(picture: np.ndarray) -> bytes:
    """Encode an RGB picture as a PNG file."""
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def _select_curves(motion: GeneratedMotion) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return true and generated values by the names of the curves, each of shape (T,)."""
    true, generated = motion.true, motion.generated
    busiest = true.expression.flatten(1).std(dim=0).topk(EXPRESSION_PANELS).indices.tolist()
    pairs = {
        f"expression of keypoint {index // 3}, {'xyz'[index % 3]}": (
            true.expression.flatten(1)[:, index].numpy(),
            generated.expression.flatten(1)[:, index].numpy(),
        )
        for index in busiest
    }
    angles = {name: (getattr(true, name), getattr(generated, name)) for name in ("pitch", "yaw", "roll")}
    return pairs | {f"{name}, degrees": (a[:, 0].numpy(), b[:, 0].numpy()) for name, (a, b) in angles.items()}


def _draw_panel(panel: np.ndarray, name: str, true: np.ndarray, generated: np.ndarray) -> None:
    """Draw both curves into a part of the picture, on a common scale."""
    height, width = panel.shape[0], panel.shape[1] - 2 * MARGIN
    low, high = float(min(true.min(), generated.min())), float(max(true.max(), generated.max()))
    span = max(high - low, 1e-6)
    cv2.rectangle(panel, (MARGIN, 0), (MARGIN + width, height - 1), GRID, 1)

    for values, color in ((true, TRUE), (generated, GENERATED)):
        x = MARGIN + np.linspace(0, width, len(values))
        y = (height - 4) - (values - low) / span * (height - 8)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(panel, [points], isClosed=False, color=color, thickness=1, lineType=cv2.LINE_AA)
    _draw_text(panel, f"{name}   {low:.3g} to {high:.3g}", (MARGIN + 6, 14))


def _draw_text(picture: np.ndarray, text: str, origin: tuple[int, int]) -> None:
    cv2.putText(picture, text, origin, FONT, FONT_SCALE, TEXT, 1, cv2.LINE_AA)
