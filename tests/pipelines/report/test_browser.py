"""All parts of the report answer in a browser, on a desktop and on a phone."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from manifests.record import file_stem
from pipelines.cli.main import app
from pipelines.report.report import write_report
from tests.media import FACE_FRAMES, write_video
from tests.pipelines.accessibility import list_violations
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, statistics, write_run

pytestmark = pytest.mark.slow

N = 130
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
LIMIT_MS = 60_000
VOICES = ("slt", "v'1 😀", None)
SHARPNESS = np.random.default_rng(3).uniform(10, 100, N).round(2)
CORRELATION = np.random.default_rng(4).uniform(0, 0.6, N).round(3)
NAMES = "[...document.querySelectorAll('.record .name bdi')].map(name => name.textContent)"
AFTER_UPDATE = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The report of a run of 130 records, compared with another run."""
    folder = tmp_path_factory.mktemp("report")
    video = write_video(folder / "v.mp4", FACE_FRAMES).read_bytes()

    def outcome(record):
        k = record.row - 1
        if k % 10 == 9:
            return failed_outcome(record, ("face_not_found", "audio_unreadable")[k % 20 > 10])
        scores = {"sharpness": float(SHARPNESS[k]), "mouth_sound_correlation": float(CORRELATION[k])}
        path = f"shards/{record.shard:05d}/videos/{file_stem(record.id)}.mp4"
        return ok_outcome(record, video=path, head_jerk=1000.0 + k % 17, frozen_share=0.0, **scores)

    rows = [
        {"record_id": f"clip {k:03d}", "image": "p.png", "audio": "s.wav", "the voice": VOICES[k % 3]} for k in range(N)
    ]
    parts = [statistics(busy_s=5.0)]
    for name, used in (("run", rows), ("other", rows[:20])):
        write_run(folder / name, used, outcome, manifests=folder, video=video, parts=parts)
    return write_report(str(folder / "run"), [str(folder / "other")])


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(browser, files, request):
    """The report in a new tab; fails if there is an error in the console or a request to elsewhere."""
    tab = browser.new_page(viewport=request.param)
    tab.set_default_timeout(LIMIT_MS)
    problems = []
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on(
        "request", lambda request: None if request.url.startswith(("file:", "data:")) else problems.append(request.url)
    )
    tab.goto(Path(files.page).as_uri())
    tab.evaluate("ready.then(() => 1)")
    yield tab
    assert tab.evaluate("document.documentElement.scrollWidth") <= request.param["width"]
    tab.close()
    assert problems == []


def part(page, name):
    return page.locator(f'[data-part="{name}"]')


def count_kept(page):
    page.evaluate(AFTER_UPDATE)
    return int(part(page, "kept").text_content().split()[1])


def select_rows(page):
    """Return the number of rows that the command on the page selects."""
    command = shlex.split(part(page, "command").text_content())
    result = CliRunner().invoke(app, [*command[1:-2], "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["selected"]


def test_the_menu_leads_to_each_section(page):
    links = page.locator("nav a")
    assert links.count() == 7
    for number in range(links.count()):
        links.nth(number).click()
        target = page.locator(links.nth(number).get_attribute("href"))
        menu = page.locator("nav").bounding_box()
        top = target.bounding_box()["y"]
        assert menu["y"] == 0
        assert top < page.viewport_size["height"]
        at_end = page.evaluate("innerHeight + scrollY >= document.documentElement.scrollHeight - 2")
        assert menu["height"] - 1 <= top or at_end


def test_the_gallery_is_sorted_filtered_searched_and_paged(page):
    part(page, "search").scroll_into_view_if_needed()
    in_order = page.evaluate(NAMES)
    for option in part(page, "sort").locator("option").all():
        part(page, "sort").select_option(option.get_attribute("value"))
        page.evaluate(AFTER_UPDATE)
        assert len(page.evaluate(NAMES)) == 60
    part(page, "sort").select_option("-1 sharpness")
    page.evaluate(AFTER_UPDATE)
    videos = [k for k in range(N) if k % 10 != 9]
    assert page.evaluate(NAMES)[0] == f"clip {max(videos, key=lambda k: SHARPNESS[k]):03d}"
    part(page, "sort").select_option("")
    for group in page.locator("[data-group]").all():
        shown = []
        for option in group.locator("option").all():
            group.select_option(option.get_attribute("value"))
            page.evaluate(AFTER_UPDATE)
            shown.append(int(part(page, "range").text_content().split(" of ")[1].split()[0]))
        group.select_option("")
        assert shown[0] == N
        assert sum(shown[1:]) == N
    for choice in ("kept", "dropped", ""):
        part(page, "show").select_option(choice)
    part(page, "search").fill("clip 07")
    page.evaluate(AFTER_UPDATE)
    assert page.evaluate(NAMES) == [f"clip 07{k}" for k in range(10)]
    part(page, "search").fill("")
    page.evaluate(AFTER_UPDATE)
    assert page.evaluate(NAMES) == in_order
    part(page, "next").click()
    part(page, "next").click()
    assert page.evaluate(NAMES) == [f"clip {k}" for k in range(120, N)]
    assert part(page, "next").is_disabled()
    part(page, "previous").click()
    assert page.evaluate(NAMES)[0] == "clip 060"


def test_thresholds_are_moved_turned_added_and_removed_and_the_command_selects_the_same(page):
    page.locator(".thresholds summary").click()
    before = count_kept(page)
    sliders = page.locator(".slider")
    sliders.first.locator("input[type=range]").focus()
    page.keyboard.press("PageUp")
    assert count_kept(page) < before
    sliders.first.locator(".sign").click()
    assert sliders.first.locator(".sign").text_content() == "≤"
    count_kept(page)
    sliders.first.locator(".sign").click()
    sliders.first.locator("input[type=number]").fill("0.1")
    assert count_kept(page) == select_rows(page)
    voice = page.locator("[data-group]").nth(2)
    for option in voice.locator("option").all()[1:]:
        voice.select_option(option.get_attribute("value"))
        assert count_kept(page) == select_rows(page) > 0
    voice.select_option("")

    names = [option.get_attribute("value") for option in part(page, "add").locator("option").all()[1:]]
    for name in names:
        part(page, "add").select_option(name)
    assert count_kept(page) == select_rows(page)
    assert sliders.count() == min(12, len(names) + count_checks(page))
    part(page, "copy").click()
    page.wait_for_function("['copied', 'selected'].includes(document.querySelector('[data-part=copy]').textContent)")
    while sliders.count():
        sliders.first.locator(".remove").click()
    assert count_kept(page) == sum(k % 10 != 9 for k in range(N))


def count_checks(page):
    return page.evaluate(
        "ready.then(gallery => gallery.data.checks.filter(([name]) => gallery.data.byName.has(name)).length)"
    )


def test_videos_play_in_place_one_at_a_time(page):
    for number in (0, 1):
        card = page.locator(".record .frame").nth(number)
        card.scroll_into_view_if_needed()
        card.locator(".play").click()
        page.wait_for_function(
            "n => document.querySelectorAll('.frame')[n].querySelector('video').readyState > 1", arg=number
        )
    assert page.evaluate("[...document.querySelectorAll('.frame video')].filter(video => !video.paused).length") <= 1
    page.locator("details.all > summary").click()
    player = page.locator("button.player").first
    player.scroll_into_view_if_needed()
    player.click()
    page.wait_for_selector(".playing video")


def test_the_scatter_plot_and_the_verdict_lead_to_videos(page):
    canvas = page.locator("#scatter canvas")
    canvas.scroll_into_view_if_needed()
    names = [option.get_attribute("value") for option in page.locator("[data-axis=x] option").all()]
    assert len(names) == 3
    for name in names:
        page.locator("[data-axis=x]").select_option(name)
        page.locator("[data-axis=y]").select_option(names[0])
    page.wait_for_function("ready.then(gallery => gallery.scatter.points?.length > 0)")
    x, y, row = page.evaluate("ready.then(gallery => gallery.scatter.points.slice(-3))")
    canvas.click(position={"x": x, "y": y})
    (name,) = page.evaluate(NAMES)
    assert abs(float(CORRELATION[int(name.split()[1])]) - float(CORRELATION[row])) < 0.05
    example = page.locator("#verdict [data-row]").first
    example.click()
    assert page.evaluate(NAMES) == [example.text_content()]


def test_tables_are_sorted_by_every_heading_and_folded_parts_open(page):
    for details in page.locator("details").all():
        if details.get_attribute("open") is None:
            details.locator("> summary").click()
        assert details.get_attribute("open") is not None
    headings = page.locator("table.sortable thead th[tabindex]")
    assert headings.count() > 20
    for number in range(headings.count()):
        heading = headings.nth(number)
        heading.click()
        first = heading.get_attribute("aria-sort")
        heading.press("Enter")
        assert {first, heading.get_attribute("aria-sort")} == {"ascending", "descending"}


def test_figures_lie_beside_the_page(page, files):
    for link in page.locator("footer a").all():
        assert (Path(files.page).parent / link.get_attribute("href")).is_file()


@pytest.mark.parametrize("scheme", [pytest.param("light", marks=pytest.mark.slow), "dark"])
def test_the_report_is_accessible(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
    page.locator(".record .play").first.click()
    page.evaluate("scrollTo(0, 0)")  # the menu covers what is behind it
    assert list_violations(page) == {}
