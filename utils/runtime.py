"""The only place that decides device, precision, determinism and seeds."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from config import Config, ConfigError, UserError
from utils.processes import IS_POSIX, World, world

CONTAINER_LIMITS = tuple(
    Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory/memory.limit_in_bytes")
)  # versions 2 and 1


def resolve_device(name: str) -> torch.device:
    """``auto`` -> the first of cuda, mps, cpu that is present; a name -> that device.

    Raises:
        ConfigError: the named device is absent.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, here in present.items() if here)
    if not present[name]:
        here = ", ".join(device for device, here in present.items() if here)
        raise ConfigError(f"DEVICE={name} is not present on this machine; there is: {here}. Use --set DEVICE=auto")
    return torch.device(name)


def take_gpu(local_rank: int) -> None:
    """Let ``cuda`` mean the GPU of this process from now on: of those it sees the ``local_rank``-th, counted round."""
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank % torch.cuda.device_count())


def own_device(device: torch.device, world: World) -> torch.device:
    """The device of this process: of several on a machine with GPUs, each has the one of its number.

    Raises:
        ConfigError: there are not as many devices as processes.
    """
    if world.size == 1 or device.type == "cpu":
        return device
    present = torch.cuda.device_count() if device.type == "cuda" else 1
    if world.local_size > present or device.type == "mps":
        raise ConfigError(
            f"{world.size} processes were started, {world.local_size} of them on this machine, which has {present} "
            f"device of the kind {device.type}; wanted one for each. "
            f"Use torchrun --nproc_per_node {present}, or --set DEVICE=cpu"
        )
    return torch.device(device.type, world.local_rank)


def resolve_precision(setting: str, device: torch.device) -> torch.dtype | None:
    """Autocast dtype of the backbone, or None for float32.

    ``auto`` takes bfloat16 where the device multiplies it natively, float16 on older CUDA GPUs, float32 elsewhere.

    Raises:
        ConfigError: fp16 on a CPU, where its products are slow and unscaled.
    """
    if setting == "fp16" and device.type == "cpu":
        raise ConfigError("MIXED_PRECISION=fp16 needs a GPU; this device is the CPU. Use bf16, no or auto.")
    if setting != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16, "no": None}[setting]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16
    if device.type == "cpu":
        return torch.bfloat16 if _cpu_multiplies_bf16() else None
    return None


def _cpu_multiplies_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.is_file() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager:
    """Autocast context of the backbone; does nothing for ``dtype=None``."""
    return torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from (SEED, what, when): the first bytes of the SHA-256 of the parts."""
    digest = hashlib.sha256("\x1f".join(f"{type(part).__name__}:{part}" for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator whose state depends on ``parts`` alone, so that every device draws the same numbers."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def _host_peak_bytes() -> int:
    if not IS_POSIX:
        import psutil

        found = psutil.Process().memory_info()
        return getattr(found, "peak_wset", found.rss)  # Windows has the first
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def memory_gib(device: torch.device) -> dict[str, float]:
    """What this process holds now and held at most: on the host, and on the GPU if ``device`` is one."""
    found = {"host_peak": _host_peak_bytes()}
    resident = Path("/proc/self/statm")  # Linux
    if resident.is_file():
        found["host"] = int(resident.read_text().split()[1]) * mmap.PAGESIZE
    if device.type == "cuda":
        found["gpu"] = torch.cuda.memory_allocated(device)
        found["gpu_peak"] = torch.cuda.max_memory_allocated(device)
        found["gpu_reserved"] = torch.cuda.memory_reserved(device)
    if device.type == "mps":
        found["mps"] = torch.mps.current_allocated_memory()
        found["mps_reserved"] = torch.mps.driver_allocated_memory()
    return {name: size / 2**30 for name, size in found.items()}


def memory_bytes(device: torch.device) -> int:
    """All memory of a device that is here: a GPU's own, or what the host lets this process have."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    installed = _installed_bytes()
    return min([installed, *(int(found) for found in map(_read_text, CONTAINER_LIMITS) if found.isdecimal())])


def _installed_bytes() -> int:
    if not IS_POSIX:
        import psutil

        return psutil.virtual_memory().total
    return os.sysconf("SC_PHYS_PAGES") * mmap.PAGESIZE


def _read_text(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""


class MemoryFullError(UserError):
    """The device or the host has less memory than was asked for."""

    of_this_process = True


@contextlib.contextmanager
def enough_memory(cure: str) -> Iterator[None]:
    """Full memory, on whatever device, is a mistake that the user can mend; ``cure`` says how, as a sentence.

    Raises:
        MemoryFullError: in the place of what torch (CUDA, MPS, its CPU allocator) or Python raise.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_full(error):
            raise
        asked = re.search(r"tried to allocate ([\d.]+) (\w+)", str(error), re.IGNORECASE)
        number, unit = asked.groups() if asked else ("", "")
        size = f"{int(number) / 2**30:,.2f} GiB" if unit == "bytes" else f"{number} {unit}"
        found = f"{size} more were wanted at once" if asked else "no more was to be had"
        raise MemoryFullError(f"The memory is full: {found}. {cure}") from error


def _is_full(error: RuntimeError | MemoryError) -> bool:
    """The CPU's allocator (``can't allocate``, on Windows ``not enough memory``) and MPS have no type of their own."""
    words = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")  # the last: cuBLAS, cuDNN
    full = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, full) or any(word in str(error) for word in words)


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def hardware(device: torch.device) -> str:
    """What computes: the GPU's name, or the instructions that torch uses of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.backends.cpu.get_cpu_capability() if device.type == "cpu" else platform.machine()


def describe(device: torch.device, dtype: torch.dtype | None) -> str:
    """The device by its name, and the precision of the backbone."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"threads: {torch.get_num_threads()}"
    return f"{device.type} ({name}), {str(dtype or torch.float32).removeprefix('torch.')}, torch {torch.__version__}"


def device_of(config: Config) -> torch.device:
    """The device that the config asks for, of several processes this one's.

    Raises:
        ConfigError: it is absent, or taken.
    """
    return own_device(resolve_device(config.DEVICE), world())


def prepare(config: Config) -> tuple[torch.device, torch.dtype | None]:
    """Device and autocast dtype that the config asks for; from now on only bitwise reproducible kernels are allowed
    (CUDA also needs CUBLAS_WORKSPACE_CONFIG=:4096:8), or any."""
    if torch.are_deterministic_algorithms_enabled() != config.DETERMINISTIC:  # setting it imports torch's compiler
        torch.use_deterministic_algorithms(config.DETERMINISTIC)
    torch.backends.cudnn.benchmark = not config.DETERMINISTIC
    device = resolve_device(config.DEVICE)
    return device, resolve_precision(config.MIXED_PRECISION, device)
