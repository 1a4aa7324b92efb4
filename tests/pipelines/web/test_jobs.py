"""Each device runs one job, the others wait; cancelled jobs use no time and no disk."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from joyvasa.errors import InputError
from joyvasa.options import AnimationConfig
from pipelines.web.jobs import ENDED, FinishedVideo, Job, JobQueue, JobState
from pipelines.web.limits import Limits

LIMIT_S = 20.0


def wait_until(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class FakeDevice:
    """A device that runs a job until `go` is set."""

    def __init__(self):
        self.running: list[Job] = []
        self.max_running = 0
        self.go = threading.Event()

    def make_video(self, job):
        self.running.append(job)
        self.max_running = max(self.max_running, len(self.running))
        try:
            while not self.go.wait(0.005):
                job.advance("frames", 1, 2)
            return finished_video(job)
        finally:
            self.running.remove(job)


def finished_video(job):
    video = job.folder / "video.mp4"
    video.write_bytes(b"video")
    return FinishedVideo(video, video, 2, 0.08, 64, 64, 0.1, [], [], "")


@pytest.fixture
def device():
    return FakeDevice()


@pytest.fixture
def queue(device):
    queue = JobQueue([device.make_video], Limits(max_waiting=3, results=2, max_finished=3))
    yield queue
    queue.close()


@pytest.fixture
def make_job(tmp_path):
    numbers = iter(range(1000))

    def make(session="a"):
        folder = tmp_path / f"job{next(numbers)}"
        folder.mkdir()
        files = {"portrait": folder / "portrait.jpg", "sound": folder / "sound.wav"}
        for file in files.values():
            file.write_bytes(b"upload")
        names = {"portrait": "me.jpg", "sound": "talk.wav"}
        return Job(session, folder, files, names, 1.0, AnimationConfig(models="random"))

    return make


def test_a_device_runs_one_job_at_a_time_in_order_of_submission(queue, device, make_job):
    jobs = [make_job(str(number)) for number in range(4)]
    for job in jobs:
        queue.submit(job)
        wait_until(lambda: device.running)
    assert [job.state for job in jobs] == [JobState.RUNNING, JobState.WAITING, JobState.WAITING, JobState.WAITING]
    assert queue.jobs_ahead(jobs[3]) == jobs[:3]
    assert queue.jobs_ahead(jobs[0]) == []
    device.go.set()
    wait_until(lambda: all(job.state is JobState.DONE for job in jobs))
    assert device.max_running == 1


def test_two_devices_run_two_jobs(make_job):
    devices = [FakeDevice(), FakeDevice()]
    queue = JobQueue([device.make_video for device in devices], Limits())
    jobs = [make_job(str(number)) for number in range(3)]
    for job in jobs:
        queue.submit(job)
    wait_until(lambda: all(device.running for device in devices))
    assert [job.state for job in jobs] == [JobState.RUNNING, JobState.RUNNING, JobState.WAITING]
    queue.close()


def test_a_full_queue_refuses_a_job(queue, device, make_job):
    for number in range(4):
        queue.submit(make_job(str(number)))
        wait_until(lambda: device.running)
    with pytest.raises(InputError, match="3 videos are waiting"):
        queue.submit(make_job("late"))


def test_a_refused_job_does_not_cancel_another_one_of_the_same_browser(queue, device, make_job):
    jobs = [make_job(str(number)) for number in range(4)]
    for job in jobs:
        queue.submit(job)
        wait_until(lambda: device.running)
    with pytest.raises(InputError, match="3 videos are waiting"):
        queue.submit(make_job("0"))
    assert jobs[0].state is JobState.RUNNING
    assert not jobs[0].cancel_requested.is_set()
    queue.submit(make_job("3"))  # in the place of its own
    assert jobs[3].state is JobState.CANCELLED


def test_a_browser_has_one_job_at_a_time(queue, device, make_job):
    first, second = make_job("a"), make_job("a")
    queue.submit(first)
    wait_until(lambda: device.running)
    queue.submit(second)
    wait_until(lambda: first.state is JobState.CANCELLED and second.state is JobState.RUNNING)


def test_a_cancelled_job_ends_at_its_next_step_and_leaves_no_file(queue, device, make_job):
    running, waiting = make_job("a"), make_job("b")
    queue.submit(running)
    wait_until(lambda: device.running)
    queue.submit(waiting)
    for job in (waiting, running):
        queue.cancel(job.id)
    wait_until(lambda: running.state is JobState.CANCELLED)
    assert waiting.state is JobState.CANCELLED
    wait_until(lambda: not running.folder.exists())
    assert not waiting.folder.exists()
    assert queue.find(running.id) is None


def test_uploads_are_removed_with_the_finished_job_and_the_video_when_its_browser_disconnects(queue, device, make_job):
    device.go.set()
    first, second = make_job("a"), make_job("b")
    queue.submit(first)
    queue.submit(second)
    wait_until(lambda: first.state is JobState.DONE and second.state is JobState.DONE)
    assert [path.name for path in first.folder.iterdir()] == ["video.mp4"]
    queue.remove_session("a")
    assert not first.folder.exists()
    assert queue.find(first.id) is None
    assert queue.find(second.id) is second


def test_a_disconnected_browser_cancels_its_running_job(queue, device, make_job):
    job = make_job("a")
    queue.submit(job)
    wait_until(lambda: device.running)
    queue.remove_session("a")
    wait_until(lambda: job.state in ENDED and not job.folder.exists())
    assert queue.find(job.id) is None


@pytest.mark.parametrize(("sessions", "kept"), [("aaaaa", 2), ("abcde", 3)])
def test_only_the_newest_videos_of_a_browser_and_of_all_are_kept(queue, device, make_job, sessions, kept):
    device.go.set()
    jobs = [make_job(session) for session in sessions]
    for job in jobs:
        queue.submit(job)
        wait_until(lambda: job.state is JobState.DONE)  # noqa: B023 (called within this iteration)
    wait_until(lambda: [job.folder.exists() for job in jobs] == [False] * (5 - kept) + [True] * kept)
    own = [job for job in reversed(jobs[-kept:]) if job.session == sessions[-1]]
    assert queue.list_finished(sessions[-1]) == own


def test_a_failed_job_leaves_no_file_and_keeps_its_error(make_job):
    def fail(job):
        raise InputError("image_unreadable", "not a picture")

    queue = JobQueue([fail], Limits())
    job = make_job()
    queue.submit(job)
    wait_until(lambda: job.state is JobState.FAILED and not job.folder.exists())
    assert queue.find(job.id) is None
    assert job.error == "image_unreadable: not a picture"
    queue.close()


def test_an_error_shows_the_names_that_the_visitor_knows(make_job):
    def fail(job):
        raise InputError("image_unreadable", f"{job.files['portrait']}: not a picture")

    def crash(job):
        raise ValueError(f"odd sample in {job.files['sound']}")

    queue = JobQueue([lambda job: fail(job) if job.session == "fail" else crash(job)], Limits())
    failed, crashed = make_job("fail"), make_job("crash")
    for job in (failed, crashed):
        queue.submit(job)
    wait_until(lambda: failed.state is JobState.FAILED and crashed.state is JobState.FAILED)
    assert failed.error == "image_unreadable: me.jpg: not a picture"
    assert crashed.error == "unexpected_error: ValueError: odd sample in talk.wav"
    queue.close()


def test_ids_cannot_be_guessed(make_job):
    assert len({make_job().id for _ in range(50)}) == 50
    assert len(make_job().id) == 32


def test_closing_ends_running_and_waiting_jobs(device, make_job):
    queue = JobQueue([device.make_video], Limits())
    jobs = [make_job("a"), make_job("b")]
    for job in jobs:
        queue.submit(job)
    queue.close()
    assert [job.state for job in jobs] == [JobState.CANCELLED, JobState.CANCELLED]
    assert not any(Path(job.folder).exists() for job in jobs)
    assert replace(jobs[0]).cancel_requested.is_set()
