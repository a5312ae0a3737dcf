"""Why a checkpoint file can be trusted: a SHA-256 of all its bytes, and a look into it before torch reads it.

torch's zip reader compares no checksums: with one bit flipped in a tensor it loads the other number. And its safe
unpickler runs no code, yet lets a file of 348 bytes allocate 2 GiB (``bytearray(2**31 - 1)``). So

- the digest of what torch wrote stands in the comment at the end of the zip, where other readers of ``torch.load``
  pass over it: one file, nothing beside it to be lost;
- before torch opens a file, its records must lie uncompressed inside it, and its pickle may name tensors and
  containers only.

Every function raises ValueError or one of ``UNREADABLE`` with the reason; ``utils/checkpoints/file.py`` says it to the
user.
"""

from __future__ import annotations

import hashlib
import os
import pickletools
import re
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, struct.error, zipfile.BadZipFile)
LABEL = b"text2sign sha256 "
SEAL_BYTES = len(LABEL) + 64  # the label and 64 hexadecimal digits
COMMENT_LENGTH = struct.Struct("<H")  # the last field of a zip, before the comment itself
CHUNK_BYTES = 2**20
PLAIN_NAMES = re.compile(r"torch\._utils _rebuild_tensor_v2|collections OrderedDict|torch \w+Storage")
"""``module name`` of all that the pickle of tensors, dictionaries, lists and JSON types refers to."""


class SealedFile:
    """A new file that hashes what ``torch.save`` writes, front to back; ``seal`` ends it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        self._digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def seal(self) -> None:
        """Make the digest the zip's comment: its length field is overwritten, the rest stays as torch wrote it."""
        self._file.seek(-COMMENT_LENGTH.size, os.SEEK_END)
        self._file.write(COMMENT_LENGTH.pack(SEAL_BYTES) + LABEL + self._digest.hexdigest().encode())


def stated_sha256(path: Path) -> str:
    """The 64 digits in the seal at the end of ``path``; empty where there is no seal."""
    length = COMMENT_LENGTH.size + SEAL_BYTES
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - length))
        tail = file.read(length)
    start = COMMENT_LENGTH.pack(SEAL_BYTES) + LABEL
    return tail.removeprefix(start).decode("ascii", "replace") if tail.startswith(start) else ""


def check_bytes(path: Path) -> None:
    """Read every byte of ``path`` and compare: with the seal, or without one with each record's CRC-32.

    Raises:
        ValueError: a byte has changed since the file was written.
    """
    stated = stated_sha256(path)
    if not stated:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken:
            raise ValueError(f"its record {broken} does not fit its CRC-32; a byte of it has changed")
    elif _digest(path) != stated:
        raise ValueError("it does not fit its own SHA-256; a byte of it has changed")


def check_structure(path: Path) -> None:
    """Look at the list of records and at the pickle, not at the tensors. Nothing is allocated that is only claimed.

    Raises:
        ValueError: what lies in it is not what ``torch.save`` makes of tensors and plain types.
    """
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        for record in records:
            stored = record.compress_type == zipfile.ZIP_STORED and record.file_size == record.compress_size
            if not stored or record.header_offset + record.file_size > size:
                claim = f"its record {record.filename[:80]!r} claims {record.file_size:,} bytes"
                raise ValueError(f"{claim}{'' if stored else ', compressed'}; the file has {size:,}")
        pickles = [record for record in records if record.filename.lower().endswith("data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"it holds {len(pickles)} records data.pkl; wanted one")
        data = archive.read(pickles[0])  # compares its CRC-32
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("GLOBAL", "INST", "STACK_GLOBAL") and not PLAIN_NAMES.fullmatch(str(argument)):
            raise ValueError(f"it asks for {str(argument)[:80]!r}; wanted tensors and plain values, nothing was run")


def _digest(path: Path) -> str:
    """SHA-256 of what torch wrote: all before the seal, ended by the length of an empty comment."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        left = os.fstat(file.fileno()).st_size - SEAL_BYTES - COMMENT_LENGTH.size
        while chunk := file.read(min(left, CHUNK_BYTES)):
            digest.update(chunk)
            left -= len(chunk)
    digest.update(COMMENT_LENGTH.pack(0))
    return digest.hexdigest()
