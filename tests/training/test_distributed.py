"""methods/training/distributed.py, utils/process_group.py: two real processes with gloo, on the CPU."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed.tensor.debug import CommDebugMode

from config import ConfigError, UserError, make_config
from dataset import DatasetError
from diffusion.text2sign import ARCHITECTURES
from main import main
from methods.trainer import Trainer
from methods.training.distributed import shares
from methods.training.step import StepResult
from tests.conftest import command_settings, debug_settings, moving_square, write_pair
from tests.many_processes import PATIENCE, interrupt_after_three_lines, run_many
from tests.published_files import random_weights, write_published
from tests.training.test_trainer import advance, assert_equal
from utils.checkpoints import file as checkpoint
from utils.process_group import in_turn, joined, on_first, together
from utils.processes import World, world
from utils.runtime import own_device

CPU = torch.device("cpu")
WAYS = ["ddp", "fsdp"]
STATE = ("step", "epoch", "batch", "skipped_steps", "model", "ema", "optimizer", "scaler", "data")
TOLD_BY_THE_CLOCK = ("03_Epoch_Summary/seconds", "05_Performance", "14_System", "time")


@pytest.fixture(scope="session")
def seven_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So that epochs end with a step of three, of which one process gets none in the last forward pass."""
    folder = tmp_path_factory.mktemp("seven")
    for index in range(7):
        gif = write_pair(folder, f"clip{index}", moving_square(index), f"caption {index}")
        for path in (gif, gif.with_suffix(".txt")):
            os.utime(path, (0, 0))  # what has just been written is not known by its time yet
    return folder


def logged(folder: Path) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl`` without what depends on the clock."""
    lines = (folder / "logs" / "debug" / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.startswith(TOLD_BY_THE_CLOCK)} for line in lines]


def assert_close(a: object, b: object, where: str = "state") -> None:
    """Numbers to float32 rounding of other sums, through dictionaries and lists; the rest exactly."""
    if isinstance(a, Tensor) and a.is_floating_point():
        torch.testing.assert_close(a, b, atol=5e-6, rtol=2e-3, msg=lambda text: f"{where}: {text}")
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_close(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            assert_close(left, right, f"{where}[{i}]")
    else:
        assert_equal(a, b, where)


# ---- The same training ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory, seven_clips: Path) -> Path:
    """The folder of a whole run of one process with four clips at once; read only."""
    folder = tmp_path_factory.mktemp("alone")
    assert main(["train", *command_settings(folder, seven_clips, BATCH_SIZE=4)]) == 0
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one_does_with_the_same_clips(
    tmp_path: Path, seven_clips: Path, alone: Path, way: str
) -> None:
    """1 clip x 2 accumulated x 2 processes against 4 at once: every logged number, and the checkpoint."""
    settings = {"BATCH_SIZE": 1, "GRADIENT_ACCUMULATION_STEPS": 2, "DISTRIBUTED": way}
    first, second = run_many(tmp_path, main, ["train", *command_settings(tmp_path, seven_clips, **settings)])
    assert (first.code, second.code) == (0, 0), first.err + second.err
    for line, wanted in zip(logged(tmp_path), logged(alone), strict=True):
        assert line == pytest.approx(wanted, rel=2e-3, abs=1e-5)
    losses, wanted = ([line["01_Training/loss"] for line in logged(folder)] for folder in (tmp_path, alone))
    assert losses == pytest.approx(wanted, rel=1e-5) and len(losses) == 4
    ours, theirs = (
        checkpoint.load(place / "checkpoints" / "debug" / "latest_checkpoint.pt") for place in (tmp_path, alone)
    )
    for field in STATE:
        assert_close(ours[field], theirs[field], field)
    # One writer.
    assert "Finished at step 4 of 4" in first.out and "training: 100%" in first.err
    assert (second.out, second.err) == ("", "")
    files, others = (
        sorted(_without_chance(path, place) for path in place.rglob("*") if path.is_file())
        for place in (tmp_path, alone)
    )
    assert [name for name in files if not name.endswith("txt")] == others


def _without_chance(path: Path, folder: Path) -> str:
    """The file's place, less what clock and chance decide of its name."""
    return re.sub(r"tfevents.*|[0-9a-f]{16}\.clips", "", str(path.relative_to(folder)))


def _cases(published: str) -> dict[str, dict[str, object]]:
    """Name -> settings: every architecture, a frozen backbone, and one whose losses are scaled as with fp16."""
    frozen = {"TINYFUSION_FREEZE_BACKBONE": True, "TINYFUSION_INIT": "pretrained", "TINYFUSION_CHECKPOINT": published}
    return {**{name: {"MODEL_ARCHITECTURE": name} for name in ARCHITECTURES}, "frozen": frozen, "scaled": {}}


def _losses_of_all(folder: Path, clips: Path, published: str, way: str, batch_size: int) -> None:
    """Loss and gradient norm of two steps of every case, written down by the first process."""
    found = {}
    with joined(CPU):
        for name, settings in _cases(published).items():
            chosen = {**debug_settings(folder, clips), **settings, "DISTRIBUTED": way, "BATCH_SIZE": batch_size}
            trainer = Trainer(make_config("debug", chosen))
            if name == "scaled":
                trainer.scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=1024.0)
            found[name] = [[one.loss, one.gradient_norm, one.skipped] for one in advance(trainer, 2)]
    if world().is_first:
        (folder / f"{way}.json").write_text(json.dumps(found))


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("published") / "published.pt"
    return str(write_published(path, random_weights(2, 64, patch=8, grid=4)))


@pytest.fixture(scope="session")
def losses_alone(tmp_path_factory: pytest.TempPathFactory, clips_folder: Path, published: str) -> dict[str, list]:
    folder = tmp_path_factory.mktemp("every")
    _losses_of_all(folder, clips_folder, published, "ddp", 4)
    return json.loads((folder / "ddp.json").read_text())


@pytest.mark.parametrize("way", WAYS)
def test_every_architecture_trains_alike_on_two_processes(
    tmp_path: Path, clips_folder: Path, published: str, losses_alone: dict[str, list], way: str
) -> None:
    ended = run_many(tmp_path, _losses_of_all, tmp_path, clips_folder, published, way, 2)
    assert [one.code for one in ended] == [0, 0], ended[0].err + ended[1].err
    found = json.loads((tmp_path / f"{way}.json").read_text())
    for name, wanted in losses_alone.items():
        for numbers, expected in zip(found[name], wanted, strict=True):
            assert numbers == pytest.approx(expected, rel=1e-4), name


def _count_exchanges(settings: dict[str, object], path: Path) -> None:
    with joined(CPU):
        trainer = Trainer(make_config("debug", settings))
        with CommDebugMode() as counted:
            advance(trainer, 1)
            before = dict(counted.get_comm_counts())
            advance(trainer, 1)
    if world().is_first:  # with two chunks of frames, for which each block runs twice
        counts = counted.get_comm_counts().items()
        path.write_text(json.dumps({str(kind): number - before.get(kind, 0) for kind, number in counts}))


def test_a_sharded_step_gathers_every_weight_twice_and_reduces_its_gradient_once(
    tmp_path: Path, clips_folder: Path
) -> None:
    settings = {**debug_settings(tmp_path, clips_folder), "DISTRIBUTED": "fsdp", "TINYFUSION_FRAME_CHUNK_SIZE": 2}
    ended = run_many(tmp_path, _count_exchanges, settings, tmp_path / "counts.json")
    assert [one.code for one in ended] == [0, 0], ended[0].err + ended[1].err
    found = json.loads((tmp_path / "counts.json").read_text())
    num_units = 2 * 2 + 1  # of 2 blocks the modulation, and the block with its adapter; what lies around them
    gathers, reductions = (
        sum(number for kind, number in found.items() if name in kind) for name in ("allgather", "reduce_scatter")
    )
    assert (gathers, reductions) == (2 * num_units, num_units), found


# ---- Checkpoints move -----------------------------------------------------------------------------------------------


def _load_and_save(settings: dict[str, object], path: Path) -> None:
    config = make_config("debug", settings)
    with joined(CPU):
        Trainer(config, resume=path).save()


def test_a_checkpoint_moves_from_one_process_to_ddp_to_fsdp_and_back_and_loses_no_bit(
    tmp_path: Path, alone: Path, seven_clips: Path
) -> None:
    original = path = alone / "checkpoints" / "debug" / "latest_checkpoint.pt"
    for number, (way, size) in enumerate((("ddp", 2), ("fsdp", 2), ("fsdp", 1))):
        settings = {**debug_settings(tmp_path / str(number), seven_clips), "BATCH_SIZE": 4 // size, "DISTRIBUTED": way}
        if size == 1:
            _load_and_save(settings, path)
        else:
            ended = run_many(tmp_path / str(number), _load_and_save, settings, path, size=size)
            assert [one.code for one in ended] == [0, 0], ended[0].err + ended[1].err
        path = checkpoint.latest_path(make_config("debug", settings))
        ours, theirs = checkpoint.load(path), checkpoint.load(original)
        for field in STATE:
            assert_equal(ours[field], theirs[field], f"{way} {size} {field}")


# ---- Stopping -------------------------------------------------------------------------------------------------------


class SecondIsAsked(Trainer):
    """Only the second process hears Ctrl-C, in the middle of the third step."""

    def train_step(self) -> StepResult:
        if self.step == 2 and self.world.rank == 1:
            signal.raise_signal(signal.SIGINT)
        return super().train_step()


def _train_until_asked(settings: dict[str, object]) -> int:
    with joined(CPU):
        trainer = SecondIsAsked(make_config("debug", settings))
        assert not trainer.run()
        return trainer.step


def test_one_process_that_is_asked_to_stop_stops_all_after_the_same_step(tmp_path: Path, seven_clips: Path) -> None:
    quiet = {"VALIDATE_EVERY_EPOCHS": 0, "RANK_EVERY_EPOCHS": 0, "LOG_DETAILS_EVERY_EPOCHS": 0}
    settings = {**debug_settings(tmp_path, seven_clips), **quiet, "SAVE_EVERY_EPOCHS": 100, "BATCH_SIZE": 1}
    ended = run_many(tmp_path, _train_until_asked, settings)
    assert [one.code for one in ended] == [3, 3], ended[0].err + ended[1].err
    assert checkpoint.load(checkpoint.latest_path(make_config("debug", settings)))["step"] == 3


def test_ctrl_c_to_torchrun_saves_once_and_another_number_of_processes_goes_on(
    tmp_path: Path, seven_clips: Path, alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"SAMPLE_EVERY_EPOCHS": 0, "SAVE_EVERY_EPOCHS": 5000, "NUM_EPOCHS": 5000, "BATCH_SIZE": 2}
    settings |= {"CACHE_DIR": alone / "cache"}  # which spares three processes the text encoder
    quiet = {"VALIDATE_EVERY_EPOCHS": 0, "RANK_EVERY_EPOCHS": 0, "LOG_DETAILS_EVERY_EPOCHS": 0}
    arguments = command_settings(tmp_path, seven_clips, **settings, **quiet)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "main.py", "train", *arguments]
    log = tmp_path / "logs" / "debug" / "metrics.jsonl"
    _, out, err = interrupt_after_three_lines([sys.executable, *command], log)
    step = json.loads(log.read_text().splitlines()[-1])["step"]
    assert err.count("Interrupted: finishing this step, then saving.") == 1, err
    assert out.count(f"Stopped at step {step:,} of") == 1, out + err
    path = tmp_path / "checkpoints" / "debug" / "latest_checkpoint.pt"
    assert [one.name for one in path.parent.iterdir()] == [path.name] and checkpoint.load(path)["step"] == step
    assert out.count("Go on with the same command and --resume.") == 1
    more = step // 2 + 1  # epochs of two steps
    one = ["train", *arguments, "--resume", "--set", "BATCH_SIZE=4", "--set", f"NUM_EPOCHS={more}"]
    assert main(one) == 0 and f"Finished at step {2 * more:,}" in capsys.readouterr().out


# ---- Mistakes -------------------------------------------------------------------------------------------------------


def test_a_mistake_of_the_user_is_told_once_and_ends_all_with_code_2(tmp_path: Path) -> None:
    arguments = command_settings(tmp_path, tmp_path / "nowhere")
    first, second = run_many(tmp_path, main, ["train", *arguments])
    assert (first.code, second.code) == (2, 2)
    assert first.err.splitlines()[-1].startswith("error: DATA_DIR=") and "nowhere is no folder" in first.err
    assert second.err == ""


def _one_has_an_error(folder: Path) -> int:
    def load() -> str:
        if world().rank == 1:
            raise DatasetError("the second has no clips")
        return "clips"

    def write() -> None:
        (folder / f"written{world().rank}").touch()
        raise UserError("the disk is full")

    with joined(CPU):
        assert in_turn(lambda: world().rank) == together(lambda: world().rank) == world().rank
        for action, told in (
            (lambda: together(load), "the second has no clips"),
            (lambda: in_turn(load), "the second has no clips"),
            (lambda: on_first(write), "the disk is full"),
        ):
            with pytest.raises(UserError, match=told):
                action()
    return 7


def test_an_error_of_one_process_is_raised_by_all(tmp_path: Path) -> None:
    ended = run_many(tmp_path, _one_has_an_error, tmp_path)
    assert [one.code for one in ended] == [7, 7], ended[0].err + ended[1].err
    assert [path.name for path in tmp_path.glob("written*")] == ["written0"]


def _on_machines_of_their_own(folder: Path) -> None:
    os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")

    def meet() -> None:
        (folder / f"reads{world().rank}").touch()
        deadline = time.monotonic() + PATIENCE
        while len(list(folder.glob("reads*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(list(folder.glob("reads*"))) == 2

    with joined(CPU):
        in_turn(meet)


def test_two_machines_read_at_the_same_time(tmp_path: Path) -> None:
    ended = run_many(tmp_path, _on_machines_of_their_own, tmp_path)
    assert [one.code for one in ended] == [0, 0], ended[0].err + ended[1].err


def test_more_processes_than_devices_are_refused() -> None:
    many = World(rank=1, size=4, local_rank=1, local_size=2)
    assert own_device(CPU, many) == CPU and own_device(torch.device("mps"), World()) == torch.device("mps")
    with pytest.raises(ConfigError, match="4 processes were started, 2 of them on this machine.*--nproc_per_node"):
        own_device(torch.device("mps"), many)
    crowd = World(rank=1, size=99, local_rank=1, local_size=99)
    with pytest.raises(ConfigError, match="which has [0-9]+ device of the kind cuda"):
        own_device(torch.device("cuda"), crowd)


# ---- Who has which clips --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_every_clip_of_a_step_is_one_processs_and_all_make_as_many_passes(size: int, batch_size: int) -> None:
    for num_clips in range(1, 3 * size * batch_size + 1):
        everyone = [shares(num_clips, batch_size=batch_size, world=World(rank, size)) for rank in range(size)]
        assert len({len(parts) for parts in everyone}) == 1
        clips = list(range(num_clips))
        assert sorted(row for parts in everyone for one in parts if one.weight for row in clips[one.rows]) == clips
        for passes in zip(*everyone, strict=True):
            sizes = [len(clips[one.rows]) for one in passes]
            assert 1 <= min(sizes) and max(sizes) <= min(sizes) + 1 and max(sizes) <= batch_size


def test_one_process_has_its_clips_in_order() -> None:
    assert [range(7)[one.rows] for one in shares(7, batch_size=3, world=World())] == [
        range(3),
        range(3, 6),
        range(6, 7),
    ]
