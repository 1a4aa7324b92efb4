"""Generated and true motion as curves in a picture."""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.training.generation import GeneratedMotion

WIDTH, PANEL_HEIGHT, MARGIN = 960, 120, 40
PAPER, INK, GRID = (255, 255, 255), (60, 60, 60), (225, 225, 225)  # RGB, as everything here
TRUE, DRAWN = (150, 150, 150), (210, 70, 30)
EXPRESSION_PANELS = 3  # of the coordinates that move most
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42


def plot_motion(generated: GeneratedMotion, title: str) -> np.ndarray:
    """Curves over time: the true motion grey, the generated one red.

    Args:
        generated: one clip.
        title: one line.

    Returns:
        RGB, uint8, shape (height, 960, 3).
    """
    pairs = _curves(generated)
    picture = np.full((MARGIN + PANEL_HEIGHT * len(pairs), WIDTH, 3), PAPER, np.uint8)
    _write(picture, f"{title}   grey: true   red: generated", (MARGIN, MARGIN - 14))
    for number, (name, (true, drawn)) in enumerate(pairs.items()):
        top = MARGIN + number * PANEL_HEIGHT
        _panel(picture[top : top + PANEL_HEIGHT - 10], name, true, drawn)
    return picture


def encode_png(picture: np.ndarray) -> bytes:
    """An RGB picture as a PNG file."""
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def _curves(generated: GeneratedMotion) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What is plotted: true and generated values, each of shape (T,)."""
    true, drawn = generated.true, generated.drawn
    busiest = true.expression.flatten(1).std(dim=0).topk(EXPRESSION_PANELS).indices.tolist()
    pairs = {
        f"expression of keypoint {index // 3}, {'xyz'[index % 3]}": (
            true.expression.flatten(1)[:, index].numpy(),
            drawn.expression.flatten(1)[:, index].numpy(),
        )
        for index in busiest
    }
    angles = {name: (getattr(true, name), getattr(drawn, name)) for name in ("pitch", "yaw", "roll")}
    return pairs | {f"{name}, degrees": (a[:, 0].numpy(), b[:, 0].numpy()) for name, (a, b) in angles.items()}


def _panel(panel: np.ndarray, name: str, true: np.ndarray, drawn: np.ndarray) -> None:
    """Draws both curves into a part of the picture, on one scale that both fit."""
    height, width = panel.shape[0], panel.shape[1] - 2 * MARGIN
    low, high = float(min(true.min(), drawn.min())), float(max(true.max(), drawn.max()))
    span = max(high - low, 1e-6)
    cv2.rectangle(panel, (MARGIN, 0), (MARGIN + width, height - 1), GRID, 1)
    for values, colour in ((true, TRUE), (drawn, DRAWN)):
        x = MARGIN + np.linspace(0, width, len(values))
        y = (height - 4) - (values - low) / span * (height - 8)
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(panel, [points], isClosed=False, color=colour, thickness=1, lineType=cv2.LINE_AA)
    _write(panel, f"{name}   {low:.3g} to {high:.3g}", (MARGIN + 6, 14))


def _write(picture: np.ndarray, text: str, place: tuple[int, int]) -> None:
    cv2.putText(picture, text, place, FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)
