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
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pocketlm.errors import OutputError, PocketFileError

SCHEMA = 1
MANIFEST = "manifest.json"
# A member may not claim to unpack to more than this, nor to more than 1,000 times its packed size.
LARGEST_MEMBER = 4 * 2**30
LARGEST_RATIO = 1_100

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
    """The file's bytes: the same for the same manifest and members."""
    hashes = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in sorted(members.items())
    }
    head = {**manifest, "schema": SCHEMA, "members": hashes}
    text = json.dumps(head, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in [(MANIFEST, text.encode()), *sorted(members.items())]:
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, data, compresslevel=9)
    plain = buffer.getvalue()
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
    partial: str | None = None
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except OSError as error:
        if partial is not None and os.path.exists(partial):
            os.unlink(partial)
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); nothing was changed") from error


def check_output(path: Path, *, replace: bool) -> None:
    """Raise OutputError where `path` could not be written: it exists, is a folder, or has no parent folder."""
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; name a file")
    if path.exists() and not replace:
        raise OutputError(f"{path}: exists already; pass --force to replace it, or choose another name")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")


def read_pocket(path: Path) -> PocketFile:
    """The verified Pocket at `path`.

    Raises PocketFileError where it is missing, truncated, changed, of a newer schema, or unsafe.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise PocketFileError(f"{path}: no such file") from None
    except OSError as error:
        raise PocketFileError(f"{path}: cannot be read ({error.strerror})") from None
    _check_whole(path, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_entries(path, archive.infolist())
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, RuntimeError) as error:
        raise PocketFileError(f"{path}: the archive is damaged ({error})") from None
    manifest = _manifest(path, members.pop(MANIFEST, None))
    _check_members(path, manifest, members)
    return PocketFile(manifest, members, len(data))


def _check_whole(path: Path, data: bytes) -> None:
    """The comment's hash against everything before it."""
    if not data.startswith(b"PK"):
        raise PocketFileError(f"{path}: is not a Pocket (no zip archive)")
    end = len(data) - _COMMENT_SIZE - _END_SIZE
    if end < 0 or data[end : end + 4] != _END or data[-_COMMENT_SIZE:-64] != _PREFIX:
        raise PocketFileError(f"{path}: is truncated or not a Pocket (its end is missing)")
    if hashlib.sha256(data[:-_COMMENT_SIZE]).hexdigest().encode() != data[-64:]:
        raise PocketFileError(f"{path}: was changed or damaged (its hash does not match)")


def _check_entries(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    seen: set[str] = set()
    for info in entries:
        name = info.filename
        parts = PurePosixPath(name).parts
        if name != info.orig_filename or "\\" in name or ":" in name or name.startswith("/") or ".." in parts:
            raise PocketFileError(f"{path}: the member {info.orig_filename!r} points outside the archive")
        if name in seen:
            raise PocketFileError(f"{path}: the member {name!r} occurs twice")
        if info.file_size > LARGEST_MEMBER or info.file_size > LARGEST_RATIO * max(info.compress_size, 1):
            raise PocketFileError(f"{path}: the member {name!r} claims an absurd size of {info.file_size:,} bytes")
        seen.add(name)


def _manifest(path: Path, data: bytes | None) -> dict[str, Any]:
    if data is None:
        raise PocketFileError(f"{path}: has no {MANIFEST}")
    try:
        manifest = json.loads(data)
    except ValueError:
        raise PocketFileError(f"{path}: its {MANIFEST} is not JSON") from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if not isinstance(schema, int):
        raise PocketFileError(f"{path}: its {MANIFEST} states no schema")
    if schema > SCHEMA:
        raise PocketFileError(
            f"{path}: has schema {schema}, this version reads up to {SCHEMA}; update with: pip install -U pocketlm"
        )
    out: dict[str, Any] = manifest
    return out


def _check_members(path: Path, manifest: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    stated = manifest.get("members")
    if not isinstance(stated, dict) or set(stated) != set(members):
        raise PocketFileError(f"{path}: its members are not those the manifest lists")
    for name, data in members.items():
        if hashlib.sha256(data).hexdigest() != stated[name].get("sha256"):
            raise PocketFileError(f"{path}: the member {name!r} does not match its hash")
