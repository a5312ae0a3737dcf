"""Many clips, batch by batch, each written as soon as its batch is done; what is finished already is not made again.

A clip's bits depend on the shape of its batch (see ``methods/sampling/provenance.py``). So batches are cut from the
list of all requests, whatever is finished and however many processes share them, and one of which a file is missing is
sampled whole. An interrupted run that goes on, or one on several processes, thus gives the files of an uninterrupted
one. The price is at most a batch for each process and interruption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from config import ConfigError
from methods.sampling import provenance
from methods.sampling.generate import generate
from methods.sampling.loading import LoadedModel
from methods.sampling.provenance import DECIDES, Provenance, ProvenanceError, Request, file_name, file_stem, shown
from utils.processes import World
from utils.reading.reader import read_frames
from utils.video import VideoError
from utils.writing import FORMS, form_at


@dataclass(frozen=True)
class Batch:
    """Requests that are sampled together, the file of each, and the places of those whose file is to be written."""

    requests: list[Request]
    paths: list[Path]
    missing: list[int]


@dataclass(frozen=True)
class Queue:
    """The batches of one process, and why files that lie there are made again: one line each."""

    batches: list[Batch]
    replaced: list[str]

    @property
    def num_missing(self) -> int:
        """Clips to be written."""
        return sum(len(batch.missing) for batch in self.batches)

    @property
    def num_kept(self) -> int:
        """Clips that are finished already."""
        return sum(len(batch.paths) - len(batch.missing) for batch in self.batches)

    @property
    def num_sampled(self) -> int:
        """Clips that must be sampled: all of every batch of which one is missing."""
        return sum(len(batch.requests) for batch in self.batches if batch.missing)


def make_queue(
    loaded: LoadedModel,
    requests: list[Request],
    folder: Path,
    *,
    process: World,
    overwrite: bool = False,
    file: Path | None = None,
) -> Queue:
    """What ``process`` has to do: of all batches every ``size``-th, from the ``rank``-th on, against ``folder``.

    ``file``: where the only clip goes instead.

    Raises:
        ConfigError: two prompts share a file name, or a folder has the name of a clip.
    """
    _check_names(requests)
    batches, replaced = [], []
    size = loaded.batch_size
    for start in range(process.rank * size, len(requests), process.size * size):
        chosen = requests[start : start + size]
        wanted = [loaded.facts(request) for request in chosen]
        paths = [file or folder / file_name(facts, FORMS[loaded.form].suffix) for facts in wanted]
        reasons = [to_do(loaded, path, facts, overwrite=overwrite) for path, facts in zip(paths, wanted, strict=True)]
        missing = [place for place, reason in enumerate(reasons) if reason is not None]
        replaced += filter(None, reasons)
        batches.append(Batch(chosen, paths, missing))
    return Queue(batches, replaced)


def to_do(loaded: LoadedModel, path: Path, wanted: Provenance, *, overwrite: bool = False) -> str | None:
    """Why ``path`` is to be written, empty if nothing counts there; None if it is the clip ``wanted``, and whole.

    Whole means that every frame decodes; ``reproduce`` compares bits.

    Raises:
        ConfigError: ``path`` is a folder where a clip is a file, or the other way round.
    """
    if path.exists() and path.is_dir() != (loaded.form == "frames"):
        found = "folder" if path.is_dir() else "file"
        raise ConfigError(f"{path} is a {found}, and a clip has this name. Move it, or give another --output.")
    if overwrite or not path.exists():
        return ""
    try:
        found, form, shape = provenance.read(path), form_at(path), read_frames(path).shape
    except (VideoError, ProvenanceError) as error:
        return str(error)
    if form != loaded.form:
        return f"{path} is of the form {form}; wanted {loaded.form}."
    for name in DECIDES:
        ours, theirs = getattr(wanted, name), getattr(found, name)
        if ours != theirs:
            return f"{path} is another clip: {name} {shown(theirs, 16)}, wanted {shown(ours, 16)}."
    _, num_frames, *sides = loaded.config.CLIP_SHAPE
    sides = [side * wanted.scale for side in sides]
    size = (num_frames, *(side + side % 2 if form == "mp4" else side for side in sides), 3)
    return None if shape == size else f"{path} has frames of shape {shape}; wanted {size}."


def work(
    loaded: LoadedModel, todo: Queue, *, on_step: Callable[[int], object] = lambda num_clips: None
) -> Iterator[tuple[Path, bool]]:
    """Each file of the queue in order, and whether it has been written just now; one batch is held at a time.

    ``on_step`` is as of ``generate``.

    Raises:
        VideoError, FileError: a clip is not finite, or cannot be written. What was written stays.
    """
    for batch in todo.batches:
        if batch.missing:
            yield from _make(loaded, batch, on_step)
        else:
            yield from ((path, False) for path in batch.paths)


def _make(loaded: LoadedModel, batch: Batch, on_step: Callable[[int], object]) -> Iterator[tuple[Path, bool]]:
    """Sample the whole batch, so that its shape is always the same, and write what is missing of it."""
    clips = generate(loaded, batch.requests, on_step=on_step)
    for place, (path, clip) in enumerate(zip(batch.paths, clips, strict=True)):
        is_missing = place in batch.missing
        if is_missing:
            clip.write(path)
        yield path, is_missing


def _check_names(requests: list[Request]) -> None:
    """Settings are the same for all of them, so files can meet only where prompts have one stem."""
    prompts: dict[str, str] = {}
    for new in (request.prompt for request in requests):
        if (other := prompts.setdefault(file_stem(new), new)) != new:
            raise ConfigError(f"{shown(other)} and {shown(new)} would have the same file name; sample one elsewhere.")
