"""The Pocket file: one zip, a manifest with the hash of each member, and a hash of the whole.

Writing is deterministic (sorted members, no dates) and atomic (a temporary file beside the target, then a
rename). Reading happens in memory, never extracts, and refuses any file in which a byte was changed: the
archive comment holds the SHA-256 of everything before the end-of-archive record.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocketlm.errors import OutputError, PocketFileError

SCHEMA = 1
MANIFEST = "manifest.json"
# Neither the file nor what it unpacks to may be larger than this.
LARGEST_BYTES = 4 * 2**30
# Beyond this many bytes, members may not unpack to more than so many times the file: weights never do.
HARMLESS_BYTES = 64 * 2**20
LARGEST_RATIO = 100

_DATE = (1980, 1, 1, 0, 0, 0)
_END = b"PK\x05\x06"
_END_SIZE = 22
_PREFIX = b"sha256:"
_COMMENT_SIZE = len(_PREFIX) + 64


@dataclass(frozen=True)
class PocketFile:
    """A verified Pocket in memory. size_bytes: of the whole file."""

    manifest: dict[str, Any]
    members: dict[str, bytes]
    size_bytes: int


def pocket_bytes(manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> bytes:
    """The file's bytes: the same for the same manifest and members.

    Raises OutputError where they would unpack to so much more that `read_pocket` refuses them.
    """
    hashes = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in sorted(members.items())
    }
    for name in members:
        assert _stays_inside(name) and name != MANIFEST, f"no member may be called {name!r}"
    head = {**manifest, "schema": SCHEMA, "members": hashes}
    text = json.dumps(head, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    first = text.encode("utf-8", "surrogatepass")  # as json.loads reads it: JSON may escape half a character
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in [(MANIFEST, first), *sorted(members.items())]:
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, data, compresslevel=9)
    plain = buffer.getvalue()
    unpacked = len(first) + sum(map(len, members.values()))
    if _absurd(unpacked, len(plain) + _COMMENT_SIZE):
        raise OutputError(f"the Pocket's {len(plain):,} bytes would unpack to {unpacked:,}; a reader would refuse it")
    body, end = plain[:-_END_SIZE], bytearray(plain[-_END_SIZE:])
    end[-2:] = _COMMENT_SIZE.to_bytes(2, "little")
    return body + bytes(end) + _PREFIX + hashlib.sha256(body + bytes(end)).hexdigest().encode()


def write_pocket(path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes], *, replace: bool) -> int:
    """Write the Pocket and return its size in bytes.

    Raises OutputError where the file exists and `replace` is false, or where it cannot be written; whatever
    was there before is then still there, and no partial file is left.
    """
    data = pocket_bytes(manifest, members)
    write_atomically(path, data, replace=replace)
    return len(data)


def write_atomically(path: Path, data: bytes, *, replace: bool) -> None:
    """Write `data` to `path` whole or not at all. Raises OutputError."""
    check_output(path, replace=replace)
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); nothing was changed") from error
    finally:  # also after Ctrl-C; a file that was renamed is no longer there
        with suppress(OSError):
            partial.unlink()


def check_output(path: Path, *, replace: bool) -> None:
    """Raise OutputError where `path` could not be written: it exists, is a folder, or its folder is no place for it."""
    try:
        folder, exists, home = path.is_dir(), path.exists(), path.parent.is_dir()
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    if folder:
        raise OutputError(f"{path}: is a folder; name a file")
    if exists and not replace:
        raise OutputError(f"{path}: exists already; pass --force to replace it, or choose another name")
    if not home:
        raise OutputError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path}: the folder {path.parent} may not be written to")


def read_pocket(path: Path) -> PocketFile:
    """The verified Pocket at `path`.

    Raises PocketFileError where it is missing, truncated, changed, of a newer schema, or unsafe.
    """
    data = _read(path)
    _check_whole(path, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_entries(path, archive.infolist(), len(data))
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise PocketFileError(f"{path}: the archive is damaged ({error})") from None
    manifest = _manifest(path, members.pop(MANIFEST, None))
    _check_members(path, manifest, members)
    return PocketFile(manifest, members, len(data))


def _read(path: Path) -> bytes:
    try:
        about = path.stat()
        if stat.S_ISDIR(about.st_mode):
            raise PocketFileError(f"{path}: is a folder, not a Pocket")
        if about.st_size > LARGEST_BYTES:
            raise PocketFileError(f"{path}: is no Pocket ({about.st_size:,} bytes; {LARGEST_BYTES:,} is the most)")
        return path.read_bytes()
    except FileNotFoundError:
        raise PocketFileError(f"{path}: no such file") from None
    except OSError as error:
        raise PocketFileError(f"{path}: cannot be read ({error.strerror})") from None


def _check_whole(path: Path, data: bytes) -> None:
    """The comment's hash against everything before it."""
    if not data:
        raise PocketFileError(f"{path}: is empty")
    if not data.startswith(b"PK"):
        raise PocketFileError(f"{path}: is not a Pocket (no zip archive)")
    end = len(data) - _COMMENT_SIZE - _END_SIZE
    if end < 0 or data[end : end + 4] != _END or data[-_COMMENT_SIZE:-64] != _PREFIX:
        raise PocketFileError(f"{path}: is truncated or not a Pocket (its end is missing)")
    # a view, since a copy would count as memory the model needs
    if hashlib.sha256(memoryview(data)[:-_COMMENT_SIZE]).hexdigest().encode() != data[-64:]:
        raise PocketFileError(f"{path}: was changed or damaged (its hash does not match)")


def _check_entries(path: Path, entries: list[zipfile.ZipInfo], packed: int) -> None:
    """What the archive says of its members, before any is unpacked."""
    seen: set[str] = set()
    for info in entries:
        name = info.filename
        if name != info.orig_filename or not _stays_inside(name):
            raise PocketFileError(f"{path}: the member {info.orig_filename!r} points outside the archive")
        if name in seen:
            raise PocketFileError(f"{path}: the member {name!r} occurs twice")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise PocketFileError(f"{path}: the member {name!r} is packed in a way no Pocket uses")
        seen.add(name)
    unpacked = sum(info.file_size for info in entries)
    if _absurd(unpacked, packed):
        raise PocketFileError(f"{path}: its {packed:,} bytes claim to unpack to {unpacked:,}; no Pocket does")


def _stays_inside(name: str) -> bool:
    """Whether a member's name is a plain relative path on every system."""
    return not {"", ".", ".."} & set(name.split("/")) and not set("\\:\0") & set(name)


def _absurd(unpacked: int, packed: int) -> bool:
    return unpacked > LARGEST_BYTES or unpacked > max(HARMLESS_BYTES, LARGEST_RATIO * packed)


def _manifest(path: Path, data: bytes | None) -> dict[str, Any]:
    if data is None:
        raise PocketFileError(f"{path}: has no {MANIFEST}")
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError):
        raise PocketFileError(f"{path}: its {MANIFEST} is not JSON") from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if type(schema) is not int or schema < 1:
        raise PocketFileError(f"{path}: its {MANIFEST} states no schema")
    if schema > SCHEMA:
        raise PocketFileError(
            f"{path}: has schema {schema}, this version reads up to {SCHEMA}; update with: pip install -U pocketlm"
        )
    out: dict[str, Any] = manifest
    return out


def _check_members(path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    """The members against what the manifest says of them."""
    stated = manifest.get("members")
    if not isinstance(stated, dict):
        raise PocketFileError(f"{path}: its {MANIFEST} lists no members")
    for names, what in ((set(stated) - set(members), "is missing"), (set(members) - set(stated), "is not listed")):
        if names:
            raise PocketFileError(f"{path}: the member {min(names)!r} {what}")
    for name, data in members.items():
        about = stated[name] if isinstance(stated[name], dict) else {}
        if about.get("bytes") != len(data):
            raise PocketFileError(f"{path}: the member {name!r} does not have the size the manifest states")
        if about.get("sha256") != hashlib.sha256(data).hexdigest():
            raise PocketFileError(f"{path}: the member {name!r} does not match its hash")
