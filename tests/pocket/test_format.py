"""A Pocket is the same for the same content, whole or not there, and refused when anything in it changed."""

import hashlib
import io
import json
import os
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketlm.errors import OutputError, PocketFileError
from pocketlm.pocket import format as room
from pocketlm.pocket.format import check_output, pocket_bytes, read_pocket, write_pocket

MANIFEST = {"task": "classification", "labels": ["ä", "b"]}
MEMBERS = {"a.bin": bytes(range(200)), "dir/b.txt": b"hello"}
HASH_SIZE = 71


@pytest.fixture
def pocket(tmp_path):
    path = tmp_path / "x.pocket"
    write_pocket(path, MANIFEST, MEMBERS, replace=False)
    return path


def refusal(path):
    """Why a file is refused: one line, without the path, whose name could hold any word."""
    with pytest.raises(PocketFileError) as caught:
        read_pocket(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def seal(body):
    """Bytes with the hash that makes them whole."""
    return body + b"sha256:" + hashlib.sha256(body).hexdigest().encode()


def sealed(tmp_path, entries, manifest=None, packing=zipfile.ZIP_DEFLATED):
    """A file with entries of its own making but a right whole-file hash."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the same name twice
        if manifest is not None:
            archive.writestr("manifest.json", manifest if isinstance(manifest, str) else json.dumps(manifest))
        for name, data in entries:
            archive.writestr(name, data)
    path = tmp_path / "made.pocket"
    path.write_bytes(seal(buffer.getvalue()[:-2] + HASH_SIZE.to_bytes(2, "little")))
    return path


def listing(**members):
    return {
        "schema": 1,
        "members": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in members.items()
        },
    }


names = st.lists(st.text("abcä_.-7", min_size=1, max_size=5), min_size=1, max_size=3).map("/".join)
safe_names = names.filter(lambda name: not {".", ".."} & set(name.split("/")))


@given(st.dictionaries(safe_names, st.binary(max_size=300), max_size=5), st.dictionaries(st.text(), st.integers()))
@settings(max_examples=30, deadline=None)
def test_what_is_written_is_read_again(tmp_path_factory, members, manifest):
    path = tmp_path_factory.mktemp("pocket") / "x.pocket"
    size = write_pocket(path, {"about": manifest}, members, replace=False)
    file = read_pocket(path)
    assert file.members == members
    assert file.manifest["about"] == manifest
    assert file.size_bytes == size == path.stat().st_size


def test_half_a_character_in_a_label_survives(tmp_path):
    write_pocket(tmp_path / "x.pocket", {"labels": ["\ud83d"]}, {}, replace=False)
    assert read_pocket(tmp_path / "x.pocket").manifest["labels"] == ["\ud83d"]


def test_same_content_gives_same_bytes_in_any_order():
    again = dict(reversed(MEMBERS.items()))
    assert pocket_bytes(MANIFEST, MEMBERS) == pocket_bytes(dict(reversed(MANIFEST.items())), again)
    assert pocket_bytes(MANIFEST, MEMBERS) != pocket_bytes({**MANIFEST, "seed": 1}, MEMBERS)


def test_any_unzip_can_look_inside(pocket):
    with zipfile.ZipFile(pocket) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "a.bin", "dir/b.txt"]
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["schema"] == 1
    assert manifest["members"]["dir/b.txt"] == {"bytes": 5, "sha256": hashlib.sha256(b"hello").hexdigest()}


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_any_changed_byte_is_refused(pocket, tmp_path, flip):
    data = pocket.read_bytes()
    changed = tmp_path / "changed.pocket"
    for place in range(len(data)):
        changed.write_bytes(data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :])
        refusal(changed)


def test_any_truncation_and_any_tail_is_refused(pocket, tmp_path):
    data = pocket.read_bytes()
    cut = tmp_path / "cut.pocket"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        refusal(cut)
    cut.write_bytes(data[: len(data) // 2])
    assert "truncated" in refusal(cut)
    cut.write_bytes(b"")
    assert "is empty" in refusal(cut)
    cut.write_bytes(data + b"\n")
    refusal(cut)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_whatever_a_forger_seals_is_read_or_refused(tmp_path_factory, data):
    """Bytes changed and hashed anew: the archive may be nonsense, the error may not."""
    body = bytearray(pocket_bytes(MANIFEST, MEMBERS)[:-HASH_SIZE])
    for place in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=4)):
        body[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"forged-{os.getpid()}.pocket"
    path.write_bytes(seal(bytes(body)))
    try:
        members = read_pocket(path).members
    except PocketFileError:
        refusal(path)
    else:
        assert members == MEMBERS


@pytest.mark.parametrize(("field", "shift"), [(-10, 1000), (-6, 1000), (-6, -50)])
def test_a_forged_end_of_archive_is_refused(tmp_path, field, shift):
    """Size and place of the directory; the second sends zipfile to a place before the file's beginning."""
    body = bytearray(pocket_bytes(MANIFEST, MEMBERS)[:-HASH_SIZE])
    number = int.from_bytes(body[field : field + 2], "little") + shift
    body[field : field + 2] = (number % 2**16).to_bytes(2, "little")
    path = tmp_path / "x.pocket"
    path.write_bytes(seal(bytes(body)))
    assert "the archive is damaged" in refusal(path)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/../../evil", "C:evil", "C:/evil", "a\\evil", "..\\evil", "./x", "a//b", "d/"]
)
def test_paths_out_of_the_archive_are_refused(tmp_path, name):
    assert "points outside" in refusal(sealed(tmp_path, [(name, b"x")], {"schema": 1, "members": {}}))
    with pytest.raises(AssertionError):
        pocket_bytes({}, {name: b"x"})


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        (None, "has no manifest.json"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "states no schema"),
        ({"members": {}}, "states no schema"),
        ({"schema": "1", "members": {}}, "states no schema"),
        ({"schema": True, "members": {}}, "states no schema"),
        ({"schema": 0, "members": {}}, "states no schema"),
        ({"schema": 99, "members": {}}, "schema 99, this version reads up to 1; update with: pip install -U pocketlm"),
        ({"schema": 1}, "lists no members"),
        ({"schema": 1, "members": ["a"]}, "lists no members"),
        ({"schema": 1, "members": {}}, "'a' is not listed"),
        (listing(a=b"xyz", b=b""), "'b' is missing"),
        ({"schema": 1, "members": {"a": None}}, "'a' does not have the size"),
        (listing(a=b"wxyz"), "'a' does not have the size"),
        (listing(a=b"xyy"), "'a' does not match its hash"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_reason(tmp_path, manifest, reason):
    assert reason in refusal(sealed(tmp_path, [("a", b"xyz")], manifest))


def test_the_same_member_twice_is_refused(tmp_path):
    assert "'a' occurs twice" in refusal(sealed(tmp_path, [("a", b"x"), ("a", b"y")], listing(a=b"x")))


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused_before_they_run(tmp_path, packing):
    assert "no Pocket uses" in refusal(sealed(tmp_path, [("a", b"x" * 100)], listing(a=b"x" * 100), packing))


def test_bombs_are_refused_before_they_unpack(tmp_path, monkeypatch):
    many = [(f"part{place}", bytes(room.HARMLESS_BYTES // 4)) for place in range(5)]
    path = sealed(tmp_path, many, listing(**dict(many)))
    monkeypatch.setattr(zipfile.ZipFile, "read", None)  # so that unpacking would be another error
    assert "claim to unpack to 83,886," in refusal(path)


def test_what_a_reader_would_refuse_is_not_written(tmp_path):
    with pytest.raises(OutputError, match="a reader would refuse"):
        write_pocket(tmp_path / "x.pocket", {}, {"zeros": bytes(room.HARMLESS_BYTES + 1)}, replace=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_refused(tmp_path, monkeypatch):
    assert refusal(tmp_path / "none.pocket") == "no such file"
    assert refusal(tmp_path) == "is a folder, not a Pocket"
    (tmp_path / "film.mp4").write_bytes(b"\0" * 100)
    assert "not a Pocket" in refusal(tmp_path / "film.mp4")
    monkeypatch.setattr(room, "LARGEST_BYTES", 99)
    assert "100 bytes; 99 is the most" in refusal(tmp_path / "film.mp4")


def test_existing_file_is_kept_unless_asked(pocket):
    before = pocket.read_bytes()
    with pytest.raises(OutputError, match="--force"):
        write_pocket(pocket, MANIFEST, {}, replace=False)
    assert pocket.read_bytes() == before
    write_pocket(pocket, MANIFEST, {}, replace=True)
    assert read_pocket(pocket).members == {}


def test_places_that_take_no_file_are_refused_early(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="is a folder; name a file"):
        check_output(tmp_path, replace=True)
    with pytest.raises(OutputError, match="nowhere does not exist"):
        check_output(tmp_path / "nowhere" / "x.pocket", replace=True)
    with pytest.raises(OutputError, match="cannot be written"):
        check_output(tmp_path / ("x" * 300), replace=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OutputError, match="may not be written to"):
        check_output(tmp_path / "x.pocket", replace=True)


def test_the_longest_name_a_folder_takes_can_be_written(tmp_path):
    path = tmp_path / ("x" * 248 + ".pocket")
    write_pocket(path, {}, {}, replace=False)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_permissions_follow_the_users_mask(tmp_path):
    saved = os.umask(0o027)
    try:
        write_pocket(tmp_path / "x.pocket", {}, {}, replace=False)
    finally:
        os.umask(saved)
    assert (tmp_path / "x.pocket").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_ends_early_leaves_the_old_file_and_nothing_else(pocket, monkeypatch, step, failure):
    before = pocket.read_bytes()

    def fail(*given):
        raise failure

    monkeypatch.setattr(os, step, fail)
    with pytest.raises((OutputError, KeyboardInterrupt)) as caught:
        write_pocket(pocket, MANIFEST, {"more": b"y" * 1000}, replace=True)
    if isinstance(failure, OSError):
        assert str(caught.value) == f"{pocket}: cannot be written (No space left on device); nothing was changed"
    assert pocket.read_bytes() == before
    assert [path.name for path in pocket.parent.iterdir()] == [pocket.name]


_FULL = """
import resource, sys
from pathlib import Path
from pocketlm.errors import OutputError
from pocketlm.pocket.format import write_pocket
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_pocket(Path(sys.argv[1]), {}, {"big": Path("/dev/urandom").open("rb").read(100_000)}, replace=True)
except OutputError as error:
    print(error)
"""


def test_a_write_the_system_cuts_off_leaves_the_old_file(pocket):
    before = pocket.read_bytes()
    source = str(Path(room.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _FULL, str(pocket)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert done.stdout == f"{pocket}: cannot be written (File too large); nothing was changed\n", done.stderr
    assert pocket.read_bytes() == before
    assert [path.name for path in pocket.parent.iterdir()] == [pocket.name]
