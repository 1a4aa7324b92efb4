"""The page in a browser: videos play, errors are sentences, and nothing is fetched from elsewhere."""

import os
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.web.limits import Limits
from tests.media import DATA, EXAMPLES, MEDIA, ffmpeg
from tests.pipelines.accessibility import list_violations
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, write_run
from tests.pipelines.web.server import LIMIT_S, serve_root

HOSTILE = "<img src=x onerror=alert(1)> ${document.title='taken'} {{ 7*7 }}"
PLAY_VIDEO = """(async () => {
  const video = document.querySelector("#jv-result video");
  if (video.readyState < 2) await new Promise((done) => video.addEventListener("loadeddata", done));
  const canvas = document.createElement("canvas");
  const pixels = () => {
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
  };
  const first = pixels(), bytes = await (await fetch(video.src)).arrayBuffer();
  const sound = await new OfflineAudioContext(1, 1, 16000).decodeAudioData(bytes);
  const ended = new Promise((done, failed) => { video.onended = done; video.onerror = failed; });
  await video.play();
  await ended;
  const last = pixels();
  return {width: video.videoWidth, duration: video.duration, time: video.currentTime,
          loudest: Math.max(...sound.getChannelData(0).map(Math.abs)),
          frames: video.getVideoPlaybackQuality().totalVideoFrames,
          colors: Math.min(new Set(first).size, new Set(last).size)};
})()"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with one run of 40 records, videos, failures and a report."""
    base = tmp_path_factory.mktemp("page")
    video = base / "v.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:rate=25:duration=0.4", "-pix_fmt", "yuv420p", video)

    def outcome(record):
        if record.id == HOSTILE:
            return failed_outcome(record, "face_not_found", f"{HOSTILE}: no face")
        number = int(record.id)
        path = f"shards/{number // 8:05d}/videos/{record.id}.mp4"
        return ok_outcome(record, video=path, sharpness=float(number * 7 % 40), blinks=2.0)

    ids = [*(str(number) for number in range(39)), HOSTILE]
    rows = [{"record_id": name, "image": "a", "audio": "b"} for name in ids]
    run = write_run(base / "root/run", rows, outcome, manifests=base, video=video.read_bytes())
    run.storage.write("report/index.html", b"<!doctype html><title>r</title><h1>The report</h1>")
    return base / "root"


@pytest.fixture(scope="module")
def server(root):
    with serve_root(root, limits=Limits(upload_bytes=2_000_000, sound_s=5.0)) as running:
        yield running


DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
SMALL_PHONE = {"width": 320, "height": 640}
SIZES = ("desktop", "phone")


@pytest.fixture(params=[DESKTOP, pytest.param(PHONE, marks=pytest.mark.slow)], ids=SIZES)
def page(browser, server, request):
    """The page in a new tab; fails if there is an error in the console or a request to elsewhere."""
    tab = browser.new_page(viewport=request.param)
    tab.set_default_timeout(LIMIT_S * 1000)
    problems = []
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("response", lambda response: problems.append(response.url) if response.status >= 400 else None)
    local = (server.address, "data:", "blob:")
    tab.on("request", lambda request: None if request.url.startswith(local) else problems.append(request.url))
    tab.goto(server.address)
    tab.wait_for_selector("#jv-start")
    yield tab
    tab.close()
    assert problems == []


def select_files(page, portrait, sound):
    page.set_input_files("#jv-portrait input[type=file]", portrait)
    page.wait_for_selector("#jv-portrait img")
    page.set_input_files("#jv-sound input[type=file]", sound)
    page.wait_for_selector("#jv-sound button[aria-label=Clear]")


def open_runs(page):
    page.get_by_role("tab", name="Runs").click()
    page.wait_for_selector("#jv-records article")


def choose_status(page, status):
    page.click("#jv-status-choice input")
    page.get_by_role("option", name=status, exact=True).click()


def list_job_folders():
    return {path.name for path in Path(os.environ["GRADIO_TEMP_DIR"]).glob("job-*")}


def test_a_real_portrait_and_recording_give_a_video_that_plays(page, tmp_path):
    ffmpeg("-ss", "0.5", "-i", EXAMPLES / "speech.flac", "-t", "0.6", tmp_path / "talk.wav")
    page.get_by_role("button", name="Options").click()  # now, because Gradio sets fields again just after they appear
    page.wait_for_selector("#jv-seed input")
    select_files(page, MEDIA / "portraits/s9.jpg", tmp_path / "talk.wav")
    page.fill("#jv-seed input", "7")
    page.click("#jv-start")
    page.wait_for_selector("#jv-status [role=status]")
    page.wait_for_selector("#jv-result video", timeout=3 * LIMIT_S * 1000)
    assert page.inner_text("#jv-status").startswith("Finished in")
    played = page.evaluate(PLAY_VIDEO)
    assert played["width"] > 200
    assert played["duration"] == pytest.approx(0.6, abs=0.05)
    assert played["time"] == pytest.approx(played["duration"], abs=0.05)
    assert played["frames"] > 5
    assert played["colors"] > 50
    assert played["loudest"] > 0.01
    assert page.locator("#jv-result img").first.evaluate("image => image.naturalWidth") > 200
    text = page.text_content("#jv-result")
    command = "joyvasa animate s9.jpg talk.wav -o out.mp4 --seed 7 --device cpu"
    assert f"{command} --set picture.max_side=400" in text
    assert "Sharpness" in text
    (job,) = list_job_folders()
    assert {path.name for path in Path(os.environ["GRADIO_TEMP_DIR"], job).iterdir()} == {"video.mp4", "source.jpg"}


@pytest.mark.slow
def test_the_last_videos_are_side_by_side_with_their_settings(page, tmp_path):
    ffmpeg("-ss", "0.5", "-i", EXAMPLES / "speech.flac", "-t", "0.3", tmp_path / "talk.wav")
    select_files(page, DATA / "portrait.jpg", tmp_path / "talk.wav")
    for seed in ("1", "2"):
        page.fill("#jv-seed input", seed)
        page.click("#jv-start")
        page.wait_for_selector(f"#jv-result article:first-of-type .jv-settings >> text=Seed {seed}")
        page.wait_for_selector("#jv-start:enabled")
    first, second = (page.locator("#jv-result article").nth(number).bounding_box() for number in (0, 1))
    across, along = ("x", "y") if page.viewport_size == DESKTOP else ("y", "x")  # below each other on a phone
    assert first[along] == second[along]
    assert first[across] < second[across]
    page.click("#jv-result >> text=Play all")
    page.wait_for_function("[...document.querySelectorAll('#jv-result video')].every(video => video.currentTime > 0)")


@pytest.mark.slow
def test_examples_are_selected_by_a_click(page):
    page.get_by_role("button", name="speech_2").click()
    page.wait_for_selector("#jv-sound button[aria-label=Clear]")
    page.get_by_role("button", name="officer").click()
    page.wait_for_selector("#jv-portrait img")


@pytest.mark.slow
def test_an_example_sets_what_the_picture_shows(page):
    page.get_by_role("button", name="cat").click()
    page.wait_for_function("document.querySelector('#jv-mode input[value=animal]').checked")
    page.get_by_role("button", name="officer").click()
    page.wait_for_function("document.querySelector('#jv-mode input[value=human]').checked")


@pytest.mark.slow
def test_controls_change_the_preview_and_one_of_several_faces_is_chosen(page, tmp_path):
    with Image.open(DATA / "portrait.jpg") as face:
        pair = Image.new("RGB", (2 * face.width, face.height))
        pair.paste(face, (0, 0))
        pair.paste(face, (face.width, 0))
    pair.save(tmp_path / "pair.jpg")
    page.set_input_files("#jv-portrait input[type=file]", tmp_path / "pair.jpg")
    page.wait_for_selector("#jv-faces [data-face='1']")
    page.get_by_role("button", name="Controls").click()
    page.wait_for_selector("#jv-preview img")
    changed = "old => { const image = document.querySelector('#jv-preview img'); return image && image.src !== old; }"
    first = page.locator("#jv-preview img").get_attribute("src")
    page.get_by_role("button", name="face 2").click()
    page.wait_for_function(changed, arg=first)
    assert page.locator("[data-face='1']").get_attribute("aria-pressed") == "true"
    second = page.locator("#jv-preview img").get_attribute("src")
    page.get_by_label("pose.yaw, degrees").focus()
    page.keyboard.press("PageUp")
    page.wait_for_function(changed, arg=second)
    ffmpeg("-i", EXAMPLES / "speech.flac", "-t", "0.3", tmp_path / "talk.wav")
    page.set_input_files("#jv-sound input[type=file]", tmp_path / "talk.wav")
    page.wait_for_selector("#jv-sound button[aria-label=Clear]")
    page.click("#jv-start")
    page.wait_for_selector("#jv-result article")
    command = page.text_content("#jv-result code")
    assert "face.index=1" in command
    assert "pose.yaw=6.0" in command


@pytest.mark.slow
def test_a_video_drives_a_portrait_without_a_recording(page, tmp_path):
    page.set_input_files("#jv-portrait input[type=file]", DATA / "portrait.jpg")
    page.wait_for_selector("#jv-portrait img")
    page.get_by_role("button", name="Motion from").click()
    still = ("-loop", "1", "-i", EXAMPLES / "portrait.jpg", "-t", "0.4", "-r", "25", "-pix_fmt", "yuv420p")
    ffmpeg(*still, tmp_path / "drive.mp4")
    page.set_input_files("#jv-motion input[type=file]", tmp_path / "drive.mp4")
    page.wait_for_selector("#jv-motion >> text=drive")
    page.click("#jv-start")
    page.wait_for_selector("#jv-result article")
    assert "--motion drive.mp4" in page.text_content("#jv-result code")


@pytest.mark.slow
@pytest.mark.parametrize("page", [DESKTOP, PHONE], ids=SIZES, indirect=True)
def test_button_and_progress_are_visible_without_scrolling(page):
    height = page.viewport_size["height"]
    button, status = (page.locator(name).bounding_box() for name in ("#jv-start", "#jv-status"))
    assert button["y"] + button["height"] <= height
    assert abs(button["y"] + button["height"] / 2 - status["y"] - status["height"] / 2) < 20
    assert status["x"] >= button["x"] + button["width"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", [DESKTOP, PHONE], ids=SIZES, indirect=True)
def test_the_page_is_accessible(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.get_by_role("button", name="speech_2").click()
    page.wait_for_selector("#jv-sound button[aria-label=Clear]")
    page.get_by_role("button", name="Options").click()
    page.wait_for_selector("#jv-face input")
    page.get_by_role("button", name="Motion from").click()
    page.get_by_role("button", name="Controls").click()
    page.wait_for_selector("#jv-preview [role=status]")
    assert list_violations(page) == {}
    open_runs(page)
    assert list_violations(page) == {}
    page.click("#jv-view >> text=Table")
    page.wait_for_selector("#jv-records table")
    assert list_violations(page) == {}
    page.get_by_role("tab", name="Failures").click()
    page.wait_for_selector("#jv-failures article")
    assert list_violations(page) == {}


def test_a_text_file_as_portrait_shows_the_error(page, tmp_path):
    (tmp_path / "portrait.jpg").write_text("this is a text")
    ffmpeg("-i", EXAMPLES / "speech.flac", "-t", "1", tmp_path / "talk.wav")
    select_files(page, tmp_path / "portrait.jpg", tmp_path / "talk.wav")
    page.click("#jv-start")
    sentence = page.inner_text("#jv-status [role=alert]")
    assert sentence.startswith("image_unreadable: portrait.jpg: not a picture (starts with b'this is ')")
    assert page.locator("#jv-start").is_enabled()


@pytest.mark.slow
def test_missing_and_long_files_show_the_error(page, tmp_path):
    page.click("#jv-start")
    assert "there is no portrait yet" in page.inner_text("#jv-status [role=alert]")
    ffmpeg("-i", EXAMPLES / "speech.flac", "-t", "5.5", tmp_path / "long.wav")
    select_files(page, DATA / "portrait.jpg", tmp_path / "long.wav")
    page.click("#jv-start")
    page.wait_for_selector("#jv-status >> text=long.wav: is longer than 5 s")


@pytest.mark.slow
def test_a_video_can_be_cancelled(page, tmp_path):
    ffmpeg("-i", EXAMPLES / "speech.flac", "-t", "4.5", tmp_path / "talk.wav")
    select_files(page, DATA / "portrait.jpg", tmp_path / "talk.wav")
    before = list_job_folders()
    page.click("#jv-start")
    page.click("#jv-cancel")
    page.wait_for_selector("#jv-status >> text=Cancelled")
    page.wait_for_selector("#jv-start:enabled")
    assert list_job_folders() <= before


def test_a_run_with_failures_shows_them(page):
    open_runs(page)
    state = page.inner_text("#jv-state")
    assert "finished" in state
    assert "1 failed" in " ".join(state.split())
    page.get_by_role("tab", name="Failures").click()
    failures = page.inner_text("#jv-failures")
    assert "face_not_found" in failures
    assert f"{HOSTILE}: no face" in failures
    assert "joyvasa resume" in failures
    page.get_by_role("tab", name="Report").click()
    assert page.frame_locator("iframe.jv-report").locator("h1").inner_text() == "The report"
    assert page.title() == "joyvasa"


@pytest.mark.slow
def test_records_are_paged_sorted_and_filtered(page):
    open_runs(page)
    assert page.locator("#jv-records article").count() == Limits().gallery
    video = page.locator("#jv-records video").first
    assert (
        video.evaluate("video => fetch(video.poster).then(answer => answer.blob()).then(blob => blob.type)")
        == "image/jpeg"
    )
    size = "video => new Promise(done => { video.onloadedmetadata = () => done(video.videoWidth); video.load(); })"
    assert video.evaluate(size.replace("video.load()", "video.preload = 'metadata'; video.load()")) == 64
    page.click("#jv-forward")
    page.wait_for_selector("#jv-position >> text=page 2 of 4")
    page.click("#jv-view >> text=Table")
    page.wait_for_selector("#jv-records table")
    page.click("#jv-records [data-sort=metric_sharpness]")
    page.wait_for_selector("#jv-records th[aria-sort=ascending]")
    page.click("#jv-records [data-sort=metric_sharpness]")
    page.wait_for_selector("#jv-records th[aria-sort=descending]")
    page.wait_for_selector("#jv-records tbody tr:first-child >> text=17")  # 17 * 7 % 40 is the largest
    choose_status(page, "all")
    page.fill("#jv-text input, #jv-text textarea", "onerror")
    page.wait_for_selector("#jv-position >> text=1 records, page 1 of 1")
    assert HOSTILE in page.inner_text("#jv-records tbody th")


@pytest.mark.slow
def test_records_are_selected_by_sliders_conditions_and_ticks(page, tmp_path):
    open_runs(page)
    page.wait_for_selector("#jv-selection >> text=keeps 39 of 40 records")
    page.get_by_role("button", name="Thresholds").click()
    page.get_by_label("Sharpness, at least").focus()
    for _ in range(3):
        page.keyboard.press("PageUp")  # a tenth of the range of 0 to 39
    page.wait_for_selector("#jv-selection >> text=keeps 27 of 40 records")  # the bound is 11.7, and no record has 33
    page.fill("#jv-where input, #jv-where textarea", "sharpness < 20 and duration_s == 4")
    page.keyboard.press("Enter")
    page.wait_for_selector("#jv-selection >> text=keeps 8 of 40 records")
    page.locator("#jv-records [data-tick='2']").check()
    page.wait_for_selector("#jv-selection >> text=1 ticked")
    assert page.locator("#jv-records article").count() == 8
    page.click("#jv-selection >> text=only these")
    page.wait_for_selector("#jv-selection >> text=keeps 1 of 40 records")
    assert page.locator("#jv-records [data-tick]").is_checked()
    page.locator("#jv-selection summary").first.click()
    command = shlex.split(page.inner_text("#jv-selection code"))
    assert command[:2] == ["joyvasa", "select"]
    assert [*command[3::2]] == ["--where"] * 3 + ["-o"]
    with page.expect_download() as started:
        page.click("#jv-selection >> text=Download the table")
    started.value.save_as(tmp_path / "selection.parquet")
    assert pq.read_table(tmp_path / "selection.parquet").column("record_id").to_pylist() == ["2"]
    page.click("#jv-selection >> text=Remove ticks and thresholds")
    page.wait_for_selector("#jv-selection >> text=keeps 20 of 40 records")
    assert page.get_by_label("Sharpness, at least").input_value() == "0"
    assert page.locator("#jv-records [data-tick]:checked").count() == 0


@pytest.mark.slow
def test_an_invalid_condition_is_explained_and_the_records_stay(page):
    open_runs(page)
    page.fill("#jv-where input, #jv-where textarea", "sharpnes > 3")
    page.keyboard.press("Enter")
    sentence = page.inner_text("#jv-selection [role=alert]")
    assert "no column sharpnes; did you mean sharpness" in sentence
    assert page.locator("#jv-records article").count() == Limits().gallery


@pytest.mark.slow
def test_a_growing_run_is_updated(page, root):
    open_runs(page)
    folder = root / "run/shards/00000"
    (folder / "_done.json").rename(folder / "away.json")
    page.wait_for_selector("#jv-state >> text=8 pending")
    (folder / "away.json").rename(folder / "_done.json")
    page.wait_for_selector("#jv-state >> text=0 pending")


@pytest.mark.slow
@pytest.mark.parametrize("page", [PHONE], ids=["phone"], indirect=True)
def test_the_page_fits_a_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    open_runs(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
@pytest.mark.parametrize("page", [SMALL_PHONE], ids=["small phone"], indirect=True)
def test_no_text_is_broken_cut_off_or_shines_through_on_a_small_phone(page):
    assert page.evaluate("document.documentElement.scrollWidth") <= SMALL_PHONE["width"]
    assert page.locator("#jv-status").bounding_box()["width"] >= 160
    heading, arrow = page.locator("#jv-controls .label-wrap > span").all()
    assert heading.evaluate("element => getComputedStyle(element).textAlign") == "left"
    other = page.locator("#jv-options .label-wrap .icon").bounding_box()
    assert arrow.bounding_box()["x"] == pytest.approx(other["x"], abs=2)
    labels = page.locator("[data-testid=block-info]:visible").all()
    layers = [int(element.evaluate("e => getComputedStyle(e).zIndex")) for element in labels]
    assert int(page.locator("#jv-actions").evaluate("e => getComputedStyle(e).zIndex")) > max(layers)

    open_runs(page)
    box = page.locator("#jv-descending")
    assert box.evaluate("e => e.scrollWidth - e.clientWidth") == 0
