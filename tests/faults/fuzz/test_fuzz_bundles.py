"""Damaged and unusual model bundles: loaded rightly or refused with one sentence, without running code of a file."""

import io
import json
import pickle
import pickletools
import shutil
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from joyvasa.bundles import open_bundle
from joyvasa.bundles.checkpoints import ARGUMENTS
from joyvasa.bundles.conversion import convert_to_folder
from joyvasa.bundles.spec import read_spec
from joyvasa.bundles.verification import verify_bundle
from joyvasa.bundles.weights import read_checkpoint, read_source_hash, read_template_pickle, read_weights
from joyvasa.errors import JoyvasaError
from tests.faults.fuzz.fuzzing import ODD_VALUES, call, fuzz, mutated, mutated_tree, mutated_yaml
from tests.joyvasa.bundles.published import (
    generator_checkpoint,
    published_template,
    small_spec,
    write_bundle,
    write_published,
)

pytestmark = pytest.mark.slow
SMALL = ["stitching", "motion_generator", "motion_template", "appearance_feature_extractor"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A published bundle of small networks with a bundle.yaml that pins nothing."""
    folder = write_published(tmp_path_factory.mktemp("published"))
    return write_bundle(folder, small_spec())


@pytest.fixture(scope="module")
def converted(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "new"
    convert_to_folder(open_bundle(bundle), SMALL, folder)
    return folder


@pytest.fixture(autouse=True)
def models_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JOYVASA_MODELS", str(tmp_path / "models"))


def check_bundle(folder):
    """Check a bundle and load its small roles."""
    opened = call(lambda: open_bundle(folder))
    if isinstance(opened, JoyvasaError):
        return
    roles = [role for role in SMALL if role in opened.spec.roles]
    call(lambda: opened.compute_fingerprint(roles))
    call(lambda: opened.describe_missing(opened.spec.roles))
    results = call(lambda: verify_bundle(opened, roles))
    if not isinstance(results, JoyvasaError):
        json.dumps([result.to_dict() for result in results])
        for result in results:
            assert result.problem.isprintable()
            assert result.passed == (not result.problem) or result.status == "absent", result


def with_file(folder, file, content, target):
    shutil.copytree(folder, target, copy_function=link)
    (target / file).unlink()
    (target / file).write_bytes(content)
    return target


def link(source, target):
    Path(target).hardlink_to(source)


@fuzz(20)
@given(st.data())
def test_descriptions_with_changed_values(converted, data):
    tree = yaml.safe_load((converted / "bundle.yaml").read_text())
    text = yaml.safe_dump(data.draw(mutated_tree(tree)), sort_keys=False).encode("utf-8", "replace")
    with tempfile.TemporaryDirectory() as name:
        check_bundle(with_file(converted, "bundle.yaml", text, Path(name, "b")))


@fuzz(20)
@given(st.data())
def test_descriptions_with_odd_yaml(converted, data):
    text = data.draw(mutated_yaml((converted / "bundle.yaml").read_text()))
    with tempfile.TemporaryDirectory() as name:
        check_bundle(with_file(converted, "bundle.yaml", text, Path(name, "b")))


SIZES = [0, 1, -1, 2, 3, 7, 33, 0.5, True, None, "x", [], [1], {}, 10**9, 2**63, 10**30, float("nan")]


@fuzz(12)
@given(st.data())
def test_networks_of_any_sizes(bundle, data):
    spec = yaml.safe_load((bundle / "bundle.yaml").read_text())
    random = open_bundle("random").spec.roles
    role = data.draw(st.sampled_from(["stitching", "motion_generator", "appearance_feature_extractor"]))
    config = {**random[role].config, **spec["roles"][role].get("config", {})}
    names = st.sampled_from([*config, "unknown", "decoder_heads", "audio_encoder", "n_motions", "sizes"])
    config |= data.draw(st.dictionaries(names, st.sampled_from(SIZES), min_size=1, max_size=2))
    spec["roles"][role]["config"] = config
    with tempfile.TemporaryDirectory() as name:
        check_bundle(with_file(bundle, "bundle.yaml", yaml.safe_dump(spec).encode(), Path(name, "b")))


@pytest.mark.parametrize("role", SMALL)
@fuzz(5)
@given(st.data())
def test_damaged_files_of_a_converted_bundle(converted, role, data):
    content = (converted / f"{role}.safetensors").read_bytes()
    changed = data.draw(mutated(content))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "w.safetensors")
        path.write_bytes(changed)
        call(lambda: read_weights(path, "safetensors"))
        call(lambda: read_source_hash(path))
        check_bundle(with_file(converted, f"{role}.safetensors", changed, Path(name, "b")))


@pytest.mark.parametrize("role", ["stitching", "motion_template", "motion_generator"])
@fuzz(15)
@given(st.data())
def test_headers_of_any_content(converted, role, data):
    content = (converted / f"{role}.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    values = [
        *ODD_VALUES,
        "F64",
        "I8",
        "BF16",
        "{}",
        "[]",
        '{"n_motions": []}',
        '{"fps": {"a": 1}}',
        "[" * 50_000,
        [1],
        [2**62],
    ]
    text = data.draw(
        st.one_of(mutated_tree(header, values).map(lambda tree: json.dumps(tree).encode()), st.just(b"[" * 100_000))
    )
    changed = len(text).to_bytes(8, "little") + text + content[8 + length :]
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "w.safetensors")
        path.write_bytes(changed)
        call(lambda: read_source_hash(path))
        target = with_file(converted, f"{role}.safetensors", changed, Path(name, "b"))
        spec = yaml.safe_load((target / "bundle.yaml").read_text())
        spec["roles"][role] |= {"sha256": None, "bytes": None}
        (target / "bundle.yaml").unlink()
        (target / "bundle.yaml").write_text(yaml.safe_dump(spec))
        check_bundle(target)


@fuzz(8)
@given(
    st.dictionaries(
        st.sampled_from([*ARGUMENTS, "audio_model"]),
        st.sampled_from([*ODD_VALUES, "cosine", "noise", "linear", 8, 100, 10**6]),
        min_size=1,
        max_size=2,
    )
)
def test_checkpoints_with_any_arguments(bundle, arguments):
    file = io.BytesIO()
    torch.save(generator_checkpoint(**arguments), file)
    spec = open_bundle(bundle).spec.roles["motion_generator"]
    with tempfile.TemporaryDirectory() as name:
        check_bundle(with_file(bundle, spec.file, file.getvalue(), Path(name, "b")))


def checkpoint(content, **options):
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


TENSORS = {"a.weight": torch.ones(2, 3), "b": torch.zeros(3, dtype=torch.float16), "c": torch.ones(4)[1:3]}
CHECKPOINTS = [
    checkpoint(TENSORS),
    checkpoint(TENSORS, _use_new_zipfile_serialization=False),
    checkpoint({"args": Path("x"), "model": TENSORS, "iter": 3}),
]


def check_checkpoint(content):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "w.pt")
        path.write_bytes(content)
        call(lambda: read_checkpoint(path))
        for entry in (None, "model"):
            weights = call(lambda entry=entry: read_weights(path, "pytorch", entry))
            if not isinstance(weights, JoyvasaError):
                assert all(isinstance(tensor, torch.Tensor) for tensor in weights.state.values())
                call(lambda state=weights.state: [tensor.float().sum() for tensor in state.values()])


@fuzz(40)
@given(st.sampled_from(CHECKPOINTS).flatmap(lambda content: mutated(content, CHECKPOINTS)))
def test_damaged_checkpoints(content):
    check_checkpoint(content)


OPERATIONS = [operation.code.encode("latin1") for operation in pickletools.opcodes]


def programs(content):
    """Pickles with inserted operations and numbers."""
    odd = st.one_of(
        st.sampled_from(OPERATIONS),
        st.binary(max_size=5),
        st.sampled_from([b"cos\nsystem\n", b"\x8a\x04\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f"]),
    )
    places = st.lists(st.tuples(st.integers(0, len(content)), st.booleans(), odd), min_size=1, max_size=3)

    def change(places):
        changed = content
        for at, replace, text in places:
            changed = changed[:at] + text + changed[at + (len(text) if replace else 0) :]
        return changed

    return places.map(change)


@fuzz(60)
@given(st.sampled_from([CHECKPOINTS[0], CHECKPOINTS[2]]), st.data())
def test_archives_with_a_changed_pickle(content, data):
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(file, "w") as target:
        for entry in source.infolist():
            body = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                body = data.draw(programs(body))
            target.writestr(entry.filename, body)
    check_checkpoint(file.getvalue())


TEMPLATES = [pickle.dumps(published_template(), protocol) for protocol in (0, 2, 4, 5)]


@fuzz(100)
@given(st.sampled_from(TEMPLATES).flatmap(lambda content: st.one_of(programs(content), mutated(content))))
def test_templates_of_any_content(content):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "t.pkl")
        path.write_bytes(content)
        arrays = call(lambda: read_template_pickle(path))
        if not isinstance(arrays, JoyvasaError):
            assert all(isinstance(array, np.ndarray) for array in arrays.values())


@fuzz(15)
@given(st.data())
def test_templates_with_any_arrays(bundle, data):
    arrays = published_template()
    for name in data.draw(st.lists(st.sampled_from(sorted(arrays)), min_size=1, max_size=3)):
        shape = data.draw(st.sampled_from([(), (0,), (1,), (3,), (63,), (1, 63), (21, 3), (64,)]))
        kind = data.draw(st.sampled_from(["<f4", ">f8", "<f2", "?", "u1", "<i8", ">i2", "<u8", "g"]))
        number = data.draw(st.sampled_from([0.0, 1.0, np.nan, np.inf, 1e300]))
        with np.errstate(all="ignore"):
            arrays[name] = np.full(shape, number).astype(kind)
    file = open_bundle(bundle).spec.roles["motion_template"].file
    with tempfile.TemporaryDirectory() as name:
        check_bundle(with_file(bundle, file, pickle.dumps(arrays), Path(name, "b")))


@fuzz(40)
@given(st.one_of(st.binary(max_size=40), st.sampled_from([b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a": 1}'])))
def test_caches_of_hashes_of_any_content(bundle, content):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("JOYVASA_MODELS", name)
        Path(name, ".hashes.json").write_bytes(content)
        assert not isinstance(call(lambda: open_bundle(bundle).hash_roles(["stitching"])), JoyvasaError)
        call(lambda: read_spec(Path(name, ".hashes.json")))
