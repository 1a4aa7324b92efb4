import signal
import subprocess
import sys

import pytest

from manifests.problems import ManifestError
from manifests.run.lock import LeaseLock, LocalLock, create_run_lock
from manifests.storage import open_storage
from tests.media import fill_disk, small_disk

HOLD = (
    "import sys\nfrom manifests.run.lock import create_run_lock\nfrom manifests.storage import open_storage\n"
    "with create_run_lock(open_storage(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


def test_a_second_driver_is_refused_until_the_first_is_done(storage):
    with create_run_lock(storage) as first:
        first.renew()
        with pytest.raises(ManifestError, match=r"run_locked: .*process"), create_run_lock(storage):
            pass
    with create_run_lock(storage):
        pass


def test_the_error_names_the_process_and_the_lock_of_a_killed_driver_is_free(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(ManifestError, match=f"process {child.pid} on "), create_run_lock(open_storage(tmp_path)):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        with create_run_lock(open_storage(tmp_path)) as lock:
            assert isinstance(lock, LocalLock)


def test_an_expired_lease_is_free_and_its_former_holder_detects_it():
    storage = open_storage("memory://lease/run")
    first = LeaseLock(storage, lease_s=1e-9, renew_s=0)
    second = LeaseLock(storage, renew_s=0)
    first.__enter__()
    with LeaseLock(storage, lease_s=1e-9, renew_s=0):
        with pytest.raises(ManifestError, match="run_locked"):
            first.renew()
        first.__exit__()
        with pytest.raises(ManifestError, match="run_locked"), second:  # the former holder removed nothing
            pass
    with second:
        second.renew()


def test_renewing_a_lease_updates_it():
    storage = open_storage("memory://renewed/run")
    with LeaseLock(storage, lease_s=60, renew_s=0) as lock:
        before = storage.read(".lock")
        lock.renew()
        assert storage.read(".lock") != before


def test_a_lease_survives_errors_of_the_storage_until_it_is_lost(monkeypatch):
    storage = open_storage("memory://unreliable/run")

    def fail(error):
        raise error

    with LeaseLock(storage, renew_s=0) as lock:
        before = storage.read(".lock")
        for name, error in (("read", OSError("away")), ("write", ManifestError("output_unwritable", "away"))):
            with monkeypatch.context() as patch:
                patch.setattr(storage, name, lambda *_, error=error: fail(error))
                lock.renew()
        lock.renew()
        assert storage.read(".lock") != before
        storage.write(".lock", b'{"token": "of another"}')
        with pytest.raises(ManifestError, match="run_locked"):
            lock.renew()


@pytest.mark.parametrize("content", ['{"renewed": "soon"}', '{"renewed": null}', '{"renewed": NaN}', "[1]", "{"])
def test_a_damaged_lease_is_free(content):
    storage = open_storage("memory://damaged/run")
    storage.write(".lock", content.encode())
    with LeaseLock(storage) as lock:
        lock.renew()


def test_an_unwritable_folder_gives_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ManifestError, match="output_unwritable"), create_run_lock(open_storage(tmp_path / "file")):
        pass


def test_a_full_disk_gives_one_sentence_and_holds_no_lock(tmp_path):
    with small_disk(tmp_path / "disk") as run:
        with create_run_lock(open_storage(run)):
            (run / ".lock").write_bytes(b"")
        fill_disk(run)
        for _ in range(2):
            with (
                pytest.raises(ManifestError, match=r"output_unwritable: .*\.lock.*No space"),
                create_run_lock(open_storage(run)),
            ):
                pass


def test_a_lease_that_cannot_be_released_hides_no_other_error(monkeypatch):
    storage = open_storage("memory://lost/run")
    lock = LeaseLock(storage).__enter__()
    for name in ("read", "_remove"):
        monkeypatch.setattr(storage, name, lambda path: open("/no/such/store", "rb"))
    lock.__exit__(ZeroDivisionError)


def test_a_lease_must_be_renewed_before_it_expires():
    with pytest.raises(ValueError, match="renew_s"):
        LeaseLock(open_storage("memory://x"), lease_s=10, renew_s=10)
