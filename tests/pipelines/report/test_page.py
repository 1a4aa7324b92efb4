"""The page itself: what comes from a run is text, links lead where they should, and a browser shows all of it."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from manifests.run.outcome_table import encode_parquet
from pipelines.report import page
from pipelines.report.contact_sheets import SheetConfig, VideoSource, make_contact_sheet, make_contact_sheets
from pipelines.report.page import MAX_BYTES, format_number, format_seconds, format_share, render_page, shorten
from pipelines.report.report import build_report, write_report
from tests.media import FACE_FRAMES, NOISE_FRAMES, write_video
from tests.pipelines.report.browser import chromium
from tests.pipelines.report.run_folders import failed_outcome, numbers, ok_outcome, statistics, write_run

HOSTILE = "<script>document.title='taken'</script>"
IDS = [HOSTILE, '"><img src=x onerror="document.title=1">', "</style></script>'", "{{ 7*7 }}", "a&amp;b", *"bcdefg"]
FILE = "a b#c?d%20e'f.mp4"
VALUES = numbers(len(IDS))
COLUMN = "<i>column</i>"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / FILE, FACE_FRAMES)
    return folder


@pytest.fixture(scope="module")
def evaluated(videos):
    """A run of videos that were brought, with texts that would like to be markup."""

    def outcome(record):
        k = IDS.index(record.id)
        if k == 4:
            return failed_outcome(record, "<u>code</u>", f"<b>{HOSTILE}</b>")
        scores = {"sharpness": VALUES[k], "brightness_drift": None if k else 1.0, "head_jerk": 1295.0 + k}
        return ok_outcome(record, **scores, first_frame_psnr=13.0 + k, longest_freeze_s=-2e-6)

    rows = [{"record_id": name, "video": FILE, COLUMN: f"<u>{k % 2}</u>"} for k, name in enumerate(IDS)]
    write_run(videos / "run", rows, outcome, manifests=videos, name="<b>Hallo</b>", parts=[statistics(busy_s=5.0)])
    return str(videos / "run")


@pytest.fixture(scope="module")
def files(evaluated):
    return write_report(evaluated, [evaluated])


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def values(self, tag, attribute):
        return [attributes[attribute] for name, attributes in self.tags if name == tag and attribute in attributes]


@pytest.fixture(scope="module")
def parsed(files):
    return Tags(open(files.page, encoding="utf-8").read())


def test_no_text_of_a_run_becomes_markup(parsed):
    names = [tag for tag, _ in parsed.tags]
    assert names.count("script") == 1
    assert not {"img", "i", "u", "iframe", "object"} & {
        name for name, attributes in parsed.tags if "class" not in attributes
    }
    assert not [name for _, attributes in parsed.tags for name in attributes if name.startswith("on")]
    text = "".join(parsed.text)
    for expected in (*IDS, "<b>Hallo</b>", COLUMN, "<u>0</u>", "<u>code</u>", f"<b>{HOSTILE}</b>"):
        assert expected in text


def test_the_policy_allows_the_script_of_the_page_and_nothing_else(files):
    text = open(files.page, encoding="utf-8").read()
    script = text[text.index("<script>") + 8 : text.rindex("</script>")]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text).group(1).replace("&#39;", "'")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy


def test_the_page_references_nothing_on_the_network(parsed):
    links = [*parsed.values("a", "href"), *parsed.values("link", "href"), *parsed.values("button", "data-video")]
    assert links
    assert not [link for link in links if re.match(r"[a-z]+:", link) and not link.startswith("data:,")]
    assert not {tag for tag, attributes in parsed.tags if "src" in attributes}


def test_links_lead_to_the_videos(parsed, videos):
    links = set(parsed.values("button", "data-video"))
    assert links == {"../../a%20b%23c%3Fd%2520e%27f.mp4"}
    assert (videos / "run/report" / unquote(links.pop())).exists()


def test_a_script_as_a_path_is_not_linked(tmp_path):
    rows = [
        {"record_id": "js", "video": "javascript:alert(1)"},
        {"record_id": "s3", "video": "s3://bucket/a.mp4"},
        {"record_id": "web", "video": 'https://example.org/a "b".mp4'},
    ]
    write_run(
        tmp_path / "run",
        rows,
        lambda record: ok_outcome(record, sharpness=float(record.row)),
        manifests=tmp_path,
        name="X",
    )
    report = make_report_without_videos(tmp_path / "run")
    links = {view.record_id: view.href for view in report.views.values()}
    assert links == {"js": "../../javascript%3Aalert%281%29", "s3": "", "web": "https://example.org/a%20%22b%22.mp4"}


def make_report_without_videos(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.report.report.make_contact_sheets", lambda sources, on_progress: {})
        return build_report(str(run))


def test_a_row_cannot_link_to_files_outside_of_the_run(tmp_path):
    rows = [{"record_id": name, "image": "p.png", "audio": "s.wav"} for name in ("a", "B/../c")]
    folder = write_run(
        tmp_path / "run", rows, lambda record: ok_outcome(record, sharpness=float(record.row)), manifests=tmp_path
    )
    table = folder.read_records(0)
    table = table.set_column(table.column_names.index("video"), "video", [["../../secret.mp4"] * 2])
    folder.storage.write(folder.records_path(0), encode_parquet(table))
    report = make_report_without_videos(tmp_path / "run")
    assert {view.href for view in report.views.values()} == {
        "../" + folder.video_path(0, "a"),
        "../" + folder.video_path(0, "B/../c"),
    }


def test_a_contact_sheet_shows_frames_of_the_whole_video(tmp_path):
    shades = [np.full((64, 96, 3), 40 * k, np.uint8) for k in range(5) for _ in range(5)]
    path = write_video(tmp_path / "v.mp4", np.stack(shades))
    sheet = np.asarray(
        Image.open(io.BytesIO(make_contact_sheet(VideoSource(str(path), 1.0), SheetConfig(), max_s=30.0)))
    )
    assert sheet.shape == (80, 5 * 120, 3)
    brightness = [sheet[:, k * 120 + 20 : k * 120 + 100].mean() for k in range(5)]
    assert brightness == pytest.approx([0, 40, 80, 120, 160], abs=8)


def test_a_long_video_is_not_read_to_its_end(tmp_path):
    path = write_video(tmp_path / "v.mp4", np.concatenate([NOISE_FRAMES, 0 * NOISE_FRAMES]))
    sheet = np.asarray(
        Image.open(io.BytesIO(make_contact_sheet(VideoSource(str(path), 2.4), SheetConfig(), max_s=1.0)))
    )
    assert sheet[:, -100:].mean() > 50  # the second half of the video is black


def test_a_missing_or_damaged_video_has_no_contact_sheet(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    readable = write_video(tmp_path / "good.mp4", NOISE_FRAMES)
    paths = {1: tmp_path / "gone.mp4", 2: tmp_path / "broken.mp4", 3: readable}
    assert [*make_contact_sheets({key: VideoSource(str(path), None) for key, path in paths.items()})] == [3]


def test_contact_sheets_are_omitted_if_the_page_would_be_too_large(evaluated, monkeypatch):
    report = build_report(evaluated)
    whole = render_page(report)
    assert whole.count(b"data:image/jpeg") == len(report.sheets) == len(IDS) - 1
    monkeypatch.setattr(page, "MAX_BYTES", len(whole) - 10)
    smaller = render_page(report)
    assert smaller.count(b"data:image/jpeg") == len(report.sheets) - 1
    assert len(smaller) <= len(whole) - 10 < MAX_BYTES


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (format_number, 12345.678, "12,346"),
        (format_number, 0.99751, "0.998"),
        (format_number, -0.03, "-0.0300"),
        (format_number, 1.2e-7, "1.20e-07"),
        (format_number, 0.0, "0"),
        (format_number, None, "–"),
        (format_number, float("nan"), "–"),
        (format_number, float("-inf"), "-inf"),
        (format_share, 0.99999, "99.9 %"),
        (format_share, 1.0, "100 %"),
        (format_share, 0.00001, "0.1 %"),
        (format_share, None, "–"),
        (format_seconds, 90.0, "90.0 s"),
        (format_seconds, 600.0, "10.0 min"),
        (format_seconds, 36_000_000.0, "10,000.0 h"),
        (shorten, "x" * 500, "x" * 399 + "…"),
    ],
)
def test_numbers_are_formatted_for_people(function, value, text):
    assert function(value) == text


def test_a_browser_shows_the_page(files, tmp_path):
    with chromium(tmp_path) as browser:
        browser.open(Path(files.page))
        assert "Hallo" in browser.evaluate("document.title")
        browser.evaluate("document.querySelector('details.all').open = true")
        plots = "[...document.querySelectorAll('svg.plot')].map(plot => plot.getBoundingClientRect())"
        sizes = browser.evaluate(f"{plots}.map(box => [box.width, box.height])")
        assert len(sizes) == 4  # the fifth metric is the same for all videos
        assert min(min(size) for size in sizes) > 50
        assert HOSTILE in browser.evaluate("document.querySelector('#metrics').innerText")
        assert browser.evaluate("getComputedStyle(document.querySelector('.sheet')).backgroundImage").startswith("url(")

        rows = "[...document.querySelector('#metrics table.sortable').tBodies[0].rows]"
        means = f"{rows}.map(row => Number(row.cells[2].dataset.v))"
        heading = "#metrics table.sortable thead th:nth-child(3)"
        browser.click(heading)
        assert browser.evaluate(means) == sorted(browser.evaluate(means), reverse=True)
        browser.click(heading)
        assert browser.evaluate(means) == sorted(browser.evaluate(means))
        assert browser.evaluate(f"document.querySelector('{heading}').getAttribute('aria-sort')") == "ascending"

        browser.click("button.player")
        width = browser.evaluate(
            "new Promise(done => { const v = document.querySelector('video'); "
            "v.videoWidth ? done(v.videoWidth) : v.addEventListener('loadedmetadata', () => done(v.videoWidth)); "
            "v.addEventListener('error', () => done(v.error.message)); })"
        )
        assert width == FACE_FRAMES.shape[2]

        browser.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        assert browser.complaints == []


def test_a_browser_draws_frames_that_the_page_does_not_contain(evaluated, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.report.records.MAX_SHEETS", 1)
    page_file = Path(evaluated, "report", "other.html")
    page_file.write_bytes(render_page(build_report(evaluated)))
    (tmp_path / "profile").mkdir()
    with chromium(tmp_path / "profile") as browser:
        browser.open(page_file)
        left = "document.querySelectorAll('details.videos[open] [data-frames]').length"
        browser.evaluate(
            f"new Promise(done => {{ (function look() {{ {left} ? setTimeout(look, 50) : done(); }})() }})"
        )
        browser.evaluate("drawing")
        assert browser.evaluate("document.querySelectorAll('details[open] .sheet canvas').length") >= len(IDS) - 2
        assert browser.complaints == []
