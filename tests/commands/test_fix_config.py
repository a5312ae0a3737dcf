"""methods/fix_config.py and fix-config: config.py made to fit a checkpoint, and nothing else in it changed."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import config as settings
from config import make_config, model_keys
from main import main
from methods.fix_config import replace_file
from tests.conftest import files_below
from tests.utils.test_checkpoint import content
from utils.checkpoints import file as checkpoint

ROOT = Path(__file__).resolve().parents[2]
KEYS = model_keys("tinyfusion")


@pytest.fixture
def config_file(here: Path) -> Path:
    """A copy of config.py with a remark of the user's own."""
    source = (ROOT / "config.py").read_text(encoding="utf-8")
    path = here / "config.py"
    path.write_text(
        source.replace("    SEED: Whole = 42", "    SEED: Whole = 4711  # my lucky number: \u00fc"), encoding="utf-8"
    )
    return path


def values_of(path: Path) -> dict[str, object]:
    """The defaults of a config file, as another Python reads them."""
    code = "import json, sys; sys.path[:0] = sys.argv[1:]; import config; print(json.dumps(config.Config().to_dict()))"
    command = [sys.executable, "-I", "-S", "-B", "-c", code, str(path.parent), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def comments_of(path: Path) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def test_fix_config_makes_the_file_fit_and_keeps_the_rest(
    config_file: Path, trained_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, comments, before = config_file.read_bytes(), comments_of(config_file), values_of(config_file)
    arguments = ["fix-config", "--checkpoint", str(trained_checkpoint), "--file", str(config_file)]
    assert main([*arguments, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert config_file.read_bytes() == old and "Dry run: nothing was written." in out
    assert list(config_file.parent.iterdir()) == [config_file]

    assert main(arguments) == 0
    assert '+    TINYFUSION_VARIANT: Variant = "DiT-XXS/8"' in capsys.readouterr().out
    stored = checkpoint.load(trained_checkpoint)["config"]
    after = values_of(config_file)
    assert {key: after[key] for key in KEYS} == {key: stored[key] for key in KEYS}
    assert {key: value for key, value in after.items() if key not in KEYS} == {
        key: value for key, value in before.items() if key not in KEYS
    }
    assert after["SEED"] == 4711 and comments_of(config_file) == comments
    (backup,) = [path for path in config_file.parent.iterdir() if path.name.startswith("config.py.bak-")]
    assert backup.read_bytes() == old

    assert main(arguments) == 0
    assert "fits" in capsys.readouterr().out and len(list(config_file.parent.glob("*.bak-*"))) == 1


def test_fix_config_only_touches_lines_of_settings_that_differ(config_file: Path, here: Path) -> None:
    checkpoint.save(here / "a.pt", content(config=settings.Config(NUM_FRAMES=20, STANDARDISE_TEXT=False).to_dict()))
    old = config_file.read_text(encoding="utf-8").splitlines()
    assert main(["fix-config", "--checkpoint", "a.pt", "--file", str(config_file)]) == 0
    changed = [
        new
        for before, new in zip(old, config_file.read_text(encoding="utf-8").splitlines(), strict=True)
        if before != new
    ]
    assert [line.split()[0] for line in changed] == ["NUM_FRAMES:", "STANDARDISE_TEXT:"]


def test_fix_config_leaves_a_file_that_can_be_read(
    config_file: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save(here / "a.pt", content(config=make_config("debug", {"TIMESTEPS": 10}).to_dict()))
    assert main(["fix-config", "--checkpoint", "a.pt", "--file", str(config_file)]) == 0
    assert (values_of(config_file)["TIMESTEPS"], values_of(config_file)["INFERENCE_TIMESTEPS"]) == (10, 4)
    assert "+    INFERENCE_TIMESTEPS: Count = 4" in capsys.readouterr().out


def test_fix_config_refuses_what_would_not_be_valid(
    config_file: Path, here: Path, trained_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config_file.write_text(config_file.read_text().replace("BATCH_SIZE: Count = 1", "BATCH_SIZE: Count = 0"))
    before = files_below(here)
    assert main(["fix-config", "--checkpoint", str(trained_checkpoint), "--file", str(config_file)]) == 2
    assert "BATCH_SIZE=0 is outside its limits; wanted >= 1. Nothing was changed." in capsys.readouterr().err
    assert files_below(here) == before


@pytest.mark.parametrize("text", [b"x = (", b"x = 1\0", b"\xff\xfe"], ids=["syntax", "null", "encoding"])
def test_a_config_file_that_is_no_python_is_one_clear_line(
    here: Path, trained_checkpoint: Path, capsys: pytest.CaptureFixture[str], text: bytes
) -> None:
    (here / "other.py").write_bytes(text)
    assert main(["fix-config", "--checkpoint", str(trained_checkpoint), "--file", "other.py"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: other.py") and "is no valid Python" in err and err.count("\n") == 1


def test_a_second_run_within_the_second_keeps_the_first_backup(here: Path) -> None:
    (here / "config.py").write_text("0")
    backups = [replace_file(here / "config.py", str(number)) for number in range(1, 6)]
    assert [path.read_text() for path in backups] == ["0", "1", "2", "3", "4"]


def test_fix_config_of_a_file_without_settings_changes_nothing(
    here: Path, trained_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "other.py").write_text("x = 1\n")
    assert main(["fix-config", "--checkpoint", str(trained_checkpoint), "--file", "other.py"]) == 2
    assert "nothing was changed" in capsys.readouterr().err
    assert files_below(here) == {"other.py": b"x = 1\n"}
