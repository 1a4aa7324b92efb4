"""Archives for tests."""

import gzip
import io
import tarfile
import zipfile

MEMBERS = {"faces/a.png": b"picture a", "b.wav": b"sound b" * 1000}
SUFFIXES = {"zip": ".zip", "tar": ".tar", "tar.gz": ".tar.gz"}


def build_archive(kind, members=MEMBERS):
    sink = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=sink, mode="w") as archive:
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(sink.getvalue()) if kind.endswith("gz") else sink.getvalue()
