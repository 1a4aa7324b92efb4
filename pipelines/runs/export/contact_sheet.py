"""The picture of a data card: a few frames of a few videos."""

from __future__ import annotations

import io
from collections.abc import Sequence

from joyvasa.errors import InputError
from pipelines.report.contact_sheets import SheetConfig, VideoSource, make_contact_sheet

CONTACT_SHEET = "contact_sheet.jpg"
LAYOUT = SheetConfig(frames=6, height=128, quality=80)
MAX_S = 10.0  # seconds decoded of each video
GAP = 4  # pixels between rows


def make_overview(samples: Sequence[tuple[str, float | None]]) -> bytes | None:
    """Make a picture with one row of frames per video, as a JPEG file; None if no video can be read.

    Args:
        samples: locations of videos and their durations in seconds.
    """
    from PIL import Image

    rows = []
    for location, duration_s in samples:
        try:
            sheet = make_contact_sheet(VideoSource(location, duration_s), LAYOUT, max_s=MAX_S)
        except (InputError, OSError):
            continue
        rows.append(Image.open(io.BytesIO(sheet)).convert("RGB"))
    if not rows:
        return None

    size = max(row.width for row in rows), sum(row.height for row in rows) + GAP * (len(rows) - 1)
    picture, top = Image.new("RGB", size, "white"), 0
    for row in rows:
        picture.paste(row, (0, top))
        top += row.height + GAP
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=LAYOUT.quality, optimize=True)
    return sink.getvalue()
