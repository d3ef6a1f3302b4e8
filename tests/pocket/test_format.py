"""A Pocket is the same for the same content, whole or not there, and refused when anything in it changed."""

import io
import json
import os
import zipfile

import pytest

from pocketlm.errors import OutputError, PocketFileError
from pocketlm.pocket.format import pocket_bytes, read_pocket, write_pocket

MANIFEST = {"task": "classification", "labels": ["ä", "b"]}
MEMBERS = {"a.bin": bytes(range(200)), "dir/b.txt": b"hello"}


@pytest.fixture
def pocket(tmp_path):
    path = tmp_path / "x.pocket"
    write_pocket(path, MANIFEST, MEMBERS, replace=False)
    return path


def test_round_trip(pocket):
    file = read_pocket(pocket)
    assert file.members == MEMBERS
    assert {key: file.manifest[key] for key in MANIFEST} == MANIFEST
    assert file.size_bytes == pocket.stat().st_size


def test_same_content_gives_same_bytes_in_any_order():
    again = dict(reversed(MEMBERS.items()))
    assert pocket_bytes(MANIFEST, MEMBERS) == pocket_bytes(dict(reversed(MANIFEST.items())), again)


def test_any_changed_byte_is_refused(pocket, tmp_path):
    data = pocket.read_bytes()
    changed = tmp_path / "changed.pocket"
    for place in range(len(data)):
        changed.write_bytes(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        with pytest.raises(PocketFileError):
            read_pocket(changed)


def test_any_truncation_is_refused(pocket, tmp_path):
    data = pocket.read_bytes()
    cut = tmp_path / "cut.pocket"
    for length in range(0, len(data), 7):
        cut.write_bytes(data[:length])
        with pytest.raises(PocketFileError):
            read_pocket(cut)


def sealed(tmp_path, entries, manifest=None):
    """A Pocket with entries of its own making but a right whole-file hash."""
    import hashlib

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if manifest is not None:
            archive.writestr("manifest.json", json.dumps(manifest))
        for name, data in entries:
            archive.writestr(name, data)
    plain = buffer.getvalue()
    head = plain[:-2] + (71).to_bytes(2, "little")
    path = tmp_path / "made.pocket"
    path.write_bytes(head + b"sha256:" + hashlib.sha256(head).hexdigest().encode())
    return path


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:evil", "a\\evil"])
def test_paths_out_of_the_archive_are_refused(tmp_path, name):
    with pytest.raises(PocketFileError, match="points outside"):
        read_pocket(sealed(tmp_path, [(name, b"x")], {"schema": 1, "members": {}}))


def test_newer_schema_says_how_to_update(tmp_path):
    with pytest.raises(PocketFileError, match="schema 99.*pip install -U pocketlm"):
        read_pocket(sealed(tmp_path, [], {"schema": 99, "members": {}}))


def test_members_must_be_those_listed(tmp_path):
    with pytest.raises(PocketFileError, match="not those the manifest lists"):
        read_pocket(sealed(tmp_path, [("extra", b"x")], {"schema": 1, "members": {}}))


def test_member_must_match_its_hash(tmp_path):
    manifest = {"schema": 1, "members": {"a": {"sha256": "0" * 64, "bytes": 1}}}
    with pytest.raises(PocketFileError, match="'a' does not match"):
        read_pocket(sealed(tmp_path, [("a", b"x")], manifest))


def test_absurd_size_is_refused(tmp_path):
    manifest = {"schema": 1, "members": {}}
    with pytest.raises(PocketFileError, match="absurd"):
        read_pocket(sealed(tmp_path, [("bomb", b"\0" * 50_000_000)], manifest))


def test_missing_file(tmp_path):
    with pytest.raises(PocketFileError, match="no such file"):
        read_pocket(tmp_path / "none.pocket")


def test_existing_file_is_kept_unless_asked(pocket):
    before = pocket.read_bytes()
    with pytest.raises(OutputError, match="--force"):
        write_pocket(pocket, MANIFEST, {}, replace=False)
    assert pocket.read_bytes() == before
    write_pocket(pocket, MANIFEST, {}, replace=True)
    assert read_pocket(pocket).members == {}


def test_full_disk_leaves_the_old_file_and_nothing_else(pocket, monkeypatch):
    before = pocket.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_pocket(pocket, MANIFEST, {"more": b"y" * 1000}, replace=True)
    assert pocket.read_bytes() == before
    assert [path.name for path in pocket.parent.iterdir()] == [pocket.name]
