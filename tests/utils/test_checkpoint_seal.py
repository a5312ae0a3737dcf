"""utils/checkpoints/seal.py: one flipped byte, and files that were made to harm."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.utils.test_checkpoint import content, saved
from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import CheckpointError
from utils.checkpoints.seal import SEAL_BYTES, SealedFile, check_bytes, check_structure

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30


# ---- The seal -------------------------------------------------------------------------------------------------------


def test_the_seal_is_the_sha256_of_what_torch_writes_without_it(tmp_path: Path) -> None:
    path, plain = saved(tmp_path / "a.pt"), io.BytesIO()
    torch.save(content(), plain)
    sealed = path.read_bytes()
    stated = sealed[-64:].decode()
    as_written = sealed[: -SEAL_BYTES - 2] + b"\0\0"  # the comment's length was none
    assert hashlib.sha256(as_written).hexdigest() == stated
    assert len(as_written) == len(plain.getvalue())
    with zipfile.ZipFile(path) as archive:
        assert archive.comment == b"text2sign sha256 " + stated.encode() and archive.testzip() is None


@pytest.mark.parametrize("mmap", [True, False])
def test_others_read_a_sealed_file_with_plain_torch_load(tmp_path: Path, mmap: bool) -> None:
    loaded = torch.load(saved(tmp_path / "a.pt"), weights_only=True, mmap=mmap)
    assert torch.equal(loaded["model"]["weight"], torch.arange(6.0).reshape(2, 3))


def test_torch_itself_does_not_notice_a_flipped_byte_in_a_tensor(tmp_path: Path) -> None:
    """The reason for the seal; if this fails one day, torch has learned it."""
    path = saved(tmp_path / "a.pt")
    data = path.read_bytes()
    at = data.index(struct.pack("<6f", *range(6))) + 5
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    loaded = torch.load(path, weights_only=True)
    assert not torch.equal(loaded["model"]["weight"], torch.arange(6.0).reshape(2, 3))
    with pytest.raises(CheckpointError, match="does not fit its own SHA-256; a byte of it has changed"):
        checkpoint.load(path)


def test_one_flipped_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    """Every byte of the seal and of the list of records, and every 13th of the rest; one bit each, drawn."""
    path = saved(tmp_path / "a.pt")
    data, draw = path.read_bytes(), random.Random(0)
    start = data.index(b"PK\x01\x02")  # the list of records, which ends in the seal
    places = {*range(0, start, 13), *range(start, len(data), 3), *range(len(data) - SEAL_BYTES - 24, len(data))}
    for at in sorted(places):
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(bytes([data[at] ^ 1 << draw.randrange(8)]))
        with pytest.raises(CheckpointError) as caught:
            checkpoint.load(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value), at
        with open(path, "r+b") as file:
            file.seek(at)
            file.write(data[at : at + 1])
    assert checkpoint.load(path)["step"] == 1234


def test_a_file_that_lost_its_seal_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(content(), path)
    for verify in (True, False):
        with pytest.raises(CheckpointError, match="the checksum at its end is missing"):
            checkpoint.load(path, verify=verify)


def test_without_a_seal_a_changed_tensor_is_noticed_by_its_crc(tmp_path: Path) -> None:
    """As in a file that another program made, whose settings may still be found out."""
    path = tmp_path / "a.pt"
    torch.save(content(), path)
    assert checkpoint.read_plain(path)[0]["step"] == 1234
    data = bytearray(path.read_bytes())
    data[data.index(struct.pack("<6f", *range(6))) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="data/0 does not fit its CRC-32; a byte of it has changed"):
        checkpoint.read_plain(path)


def test_hashing_while_writing_is_hashing_the_file(tmp_path: Path) -> None:
    for chunks in ([b"\0\0"], [b"abc", memoryview(b"defg"), b"\0\0"]):
        with open(tmp_path / "a", "wb") as file:
            sealed = SealedFile(file)
            assert [sealed.write(chunk) for chunk in chunks] == [len(chunk) for chunk in chunks]
            sealed.seal()
        wanted = hashlib.sha256(b"".join(chunks)).hexdigest().encode()
        assert (tmp_path / "a").read_bytes()[-64:] == wanted
        check_bytes(tmp_path / "a")


# ---- Files that were made to harm -----------------------------------------------------------------------------------


def zipped(path: Path, records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in {"version": b"3\n", "byteorder": b"little", **records}.items():
            archive.writestr(f"a/{name}", data)
    return path


def claiming(path: Path, size: int) -> Path:
    """A file of a few hundred bytes whose headers say that its pickle has ``size``."""
    data = zipped(path, {"data.pkl": pickle.dumps({}, 2)}).read_bytes()
    with zipfile.ZipFile(path) as archive:
        record = archive.getinfo("a/data.pkl")
    old, new = (struct.pack("<III", record.CRC, n, n) for n in (record.file_size, size))
    assert data.count(old) == 2  # before the record, and in the list
    path.write_bytes(data.replace(old, new))
    return path


def large_tensor(path: Path, *, numbers: int, shape: int, stride: int = 1) -> Path:
    """A weight of 5 numbers on disk that says it has more."""
    buffer = io.BytesIO()
    torch.save(content(model={"weight": torch.arange(5.0)}), buffer)
    with zipfile.ZipFile(buffer) as archive:
        records = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    old = records["data.pkl"]
    at = old.index(b"K\x05tq")  # 5 numbers in the storage ... shape (5,), stride (1,)
    new = old[:at] + b"J" + struct.pack("<i", numbers) + old[at + 2 :]
    at = new.index(b"K\x05\x85", at)
    new = new[:at] + b"J" + struct.pack("<i", shape) + new[at + 2 :]
    at = new.index(b"K\x01\x85", at)
    records["data.pkl"] = new[:at] + b"K" + bytes([stride]) + new[at + 2 :]
    return zipped(path, {key: value for key, value in records.items() if key not in ("version", "byteorder")})


def reseal(path: Path) -> Path:
    """A stranger can seal, too: the seal tells damage, not malice."""
    data = path.read_bytes()
    with open(path, "wb") as file:
        sealed = SealedFile(file)
        sealed.write(data)
        sealed.seal()
    return path


HOSTILE: dict[str, Callable[[Path], Path]] = {
    "2 GiB from a pickle of 30 bytes": lambda path: zipped(
        path, {"data.pkl": b"\x80\x02c__builtin__\nbytearray\nJ" + struct.pack("<i", 2**31 - 1) + b"\x85R."}
    ),
    "a zip bomb": lambda path: zipped(path, {"data.pkl": bytes(GIB // 4)}, zipfile.ZIP_DEFLATED),
    "a header that claims 2 GB": lambda path: claiming(path, 2_000_000_000),
    "a storage that claims 2 GB": lambda path: large_tensor(path, numbers=500_000_000, shape=500_000_000),
    "a shape that claims 2 GB": lambda path: large_tensor(path, numbers=5, shape=500_000_000),
    "a shape that repeats one number": lambda path: large_tensor(path, numbers=5, shape=2**31 - 1, stride=0),
}

MEASURE = """
import json, resource, sys
import torch
from pathlib import Path
from utils.checkpoints import file as checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
said = []
for path in sys.argv[1:]:
    for verify in (False, True):
        try:
            checkpoint.load(path, verify=verify)
            said.append("read")
        except checkpoint.CheckpointError as error:
            said.append(str(error))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"said": said, "grown_kib": peak - before}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_files_that_claim_gigabytes_are_refused_in_a_few_megabytes(tmp_path: Path) -> None:
    """In a process of its own, whose peak memory tells: each is small and asks for 256 MiB or more."""
    paths = []
    for number, make in enumerate(HOSTILE.values()):
        plain, sealed = make(tmp_path / f"{number}.pt"), tmp_path / f"{number} sealed.pt"
        shutil.copyfile(plain, sealed)
        paths += [plain, reseal(sealed)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    for index, said in enumerate(found["said"]):
        peeked, sealed = index % 2 == 0, "sealed" in paths[index // 2].name
        if peeked and said == "read":  # the description is sound, the tensor is what lies
            assert sealed and "repeats one number" in list(HOSTILE)[index // 4]
        else:
            assert str(paths[index // 2]) in said and "\n" not in said
    assert found["grown_kib"] < 64 * 1024, found["grown_kib"]


def test_a_name_that_is_no_tensor_or_container_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for number, value in enumerate((bytearray(b"abc"), {1, 2}, io.BytesIO(), print)):
        data = pickle.dumps({"format_version": value}, 2)
        path = zipped(tmp_path / f"{number}.pt", {"data.pkl": data})
        with pytest.raises(ValueError, match="it asks for .*; wanted tensors and plain values, nothing was run"):
            check_structure(path)


def test_two_pickles_or_none_are_refused(tmp_path: Path) -> None:
    plain = pickle.dumps({}, 2)
    for number, names in enumerate(((), ("data.pkl", "b/DATA.PKL"))):
        path = zipped(tmp_path / f"{number}.pt", dict.fromkeys(names, plain))
        with pytest.raises(ValueError, match=f"it holds {len(names)} records data.pkl; wanted one"):
            check_structure(path)
