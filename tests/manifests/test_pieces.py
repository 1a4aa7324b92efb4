import pyarrow as pa
import pytest

from joyvasa.errors import InputError
from manifests.media_lists import MediaList
from manifests.pieces import PieceFolder
from manifests.problems import ManifestError
from manifests.storage import open_storage


class Cutter:
    """Cuts a recording at whole seconds; the duration is the content of its file."""

    def __init__(self):
        self.calls = []

    def __call__(self, location, open_piece):
        self.calls.append(location)
        content = open(location).read()
        if content == "bad":
            raise InputError("audio_unreadable", f"{location}: no sound")
        if int(content) <= 1:
            return None if content == "1" else []
        spans = [(float(second), second + 1.0) for second in range(int(content))]
        for number in range(len(spans)):
            with open_piece(number) as path:
                path.write_bytes(b"sound")
        return spans


@pytest.fixture
def cutter():
    return Cutter()


@pytest.fixture
def audio(tmp_path):
    contents = {"a": "2", "b": "1", "c": "bad", "d": "0"}
    for name, content in contents.items():
        (tmp_path / f"{name}.wav").write_text(content)
    names = [*contents]
    locations = [str(tmp_path / f"{name}.wav") for name in names]
    columns = pa.table({"text": ["two words", "one", None, None], "person": ["p", "q", "r", "s"]})
    return MediaList("audio", "voices", locations, names, ["voices"] * 4, names, columns)


def cut_all(tmp_path, cutter, audio, max_s=1.0):
    return PieceFolder(open_storage(tmp_path), "pairs.pieces", cutter, min_s=0.5, max_s=max_s).cut_all(audio)


def test_pieces_have_the_columns_of_their_recording_but_not_its_text(tmp_path, cutter, audio):
    pieces, problems = cut_all(tmp_path, cutter, audio)
    assert pieces.names == ["a.00000", "a.00001", "b"]
    assert pieces.locations[1:] == [str(tmp_path / "pairs.pieces/a/00001.wav"), audio.locations[1]]
    assert pieces.columns.to_pydict() == {
        "text": [None, None, "one"],
        "person": ["p", "p", "q"],
        "audio_source": ["a.wav", "a.wav", "b.wav"],
        "audio_start_s": [0.0, 1.0, None],
        "audio_end_s": [1.0, 2.0, None],
    }
    assert problems == [f"audio_unreadable: {audio.locations[2]}: no sound"]
    assert pieces.notes == ("left out recordings that are silent or shorter than 0.5 s: 1",)
    assert not (tmp_path / "pairs.pieces/c").exists()


def test_finished_recordings_are_not_cut_again_unless_something_changed(tmp_path, cutter, audio):
    first, _ = cut_all(tmp_path, cutter, audio)
    cutter.calls.clear()
    again, _ = cut_all(tmp_path, cutter, audio)
    assert again == first
    assert cutter.calls == [audio.locations[2]]

    cutter.calls.clear()
    (tmp_path / "a.wav").write_text("2 ")
    cut_all(tmp_path, cutter, audio)
    assert sorted(cutter.calls) == [audio.locations[0], audio.locations[2]]
    cutter.calls.clear()
    cut_all(tmp_path, cutter, audio, max_s=2.0)
    assert len(cutter.calls) == 4


def test_an_interrupted_recording_is_cut_again(tmp_path, cutter, audio):
    cut_all(tmp_path, cutter, audio)
    (tmp_path / "pairs.pieces/a/index.json").unlink()
    (tmp_path / "pairs.pieces/a/00007.wav").write_bytes(b"left over")
    cut_all(tmp_path, cutter, audio)
    assert sorted(path.name for path in (tmp_path / "pairs.pieces/a").iterdir()) == [
        "00000.wav",
        "00001.wav",
        "index.json",
    ]


def test_no_piece_gives_one_sentence_with_the_reason(tmp_path, cutter, audio):
    with pytest.raises(ManifestError, match="pieces_none: voices: audio_unreadable"):
        cut_all(tmp_path, cutter, audio.take([2, 3]))
    with pytest.raises(ManifestError, match=r"no recording gives pieces of 0\.5 to 1 s"):
        cut_all(tmp_path, cutter, audio.take([3]))
