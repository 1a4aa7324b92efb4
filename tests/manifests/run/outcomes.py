"""Outcome rows for tests of tables."""

from manifests.run.outcome import RecordOutcome


def make_outcome(record_id, **more):
    values = {
        "status": "ok", "stage": "render", "seconds": {"render": 1.5, "motion": 0.5}, "frames": 25, "duration_s": 1.0,
        "seed": 2**63 - 1, "video": f"shards/00000/videos/{record_id}.mp4", "sha256": "ab", "bundle": "sample",
        "licenses": ("MIT", "CC0"), "metrics": {"sync": 0.25}, "image_sha256": "cd", "n_faces": 2,
        "warnings": "p.png: 2 faces found", "warning_codes": "several_faces",
    }  # fmt: skip
    return RecordOutcome(record_id=record_id, **{**values, **more})


def failed_outcome(record_id, **more):
    values = {"stage": "portrait", "error_code": "no_face", "error": "p.png: no face found", "attempts": 2}
    return RecordOutcome(record_id=record_id, status="failed", **{**values, **more})
