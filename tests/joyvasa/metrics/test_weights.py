"""Each metric that needs weights says which, how large they are and how to get them."""

from joyvasa.bundles import open_bundle
from joyvasa.metrics import METRIC_NAMES, METRICS_BUNDLE, build_metric
from joyvasa.metrics.weights import describe_size, list_weights


def test_every_metric_with_weights_states_files_sizes_licenses_and_how_to_get_them():
    listed = {entry.metric: entry for entry in list_weights(open_bundle(METRICS_BUNDLE))}
    assert [*listed] == [name for name in METRIC_NAMES if build_metric(name).roles]
    for name, entry in listed.items():
        assert len(entry.files) == len(build_metric(name).roles)
        assert all(size.endswith(("MB", "GB")) for _, size in entry.files)
        assert entry.command or entry.instructions
        assert entry.license
    assert listed["sync"].command == "joyvasa models fetch metrics --role syncnet --role s3fd"
    assert listed["smoothness"].files == (("amt-s.pth", "12.0 MB"),)
    assert listed["fvd"].command == ""


def test_sizes_are_formatted_for_people():
    assert describe_size(16_923_827) == "16.9 MB"
    assert describe_size(None, 10_000_000_000) == "about 10.0 GB"
    assert describe_size(None) == "?"
