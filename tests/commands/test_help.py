"""commands/common.py, main.py: what --help says, and how flags may be spelled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from main import main, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "plan", "train", "sample", "serve", "reproduce", "evaluate", "export", "inspect-data", "prepare-data", "config",
    "checkpoints", "fix-config",
)  # fmt: skip


def test_help_names_every_command_and_answers_without_loading_torch() -> None:
    code = "import sys; sys.argv = ['main.py', '--help']\ntry:\n    import main; main.main()\nexcept SystemExit as e:\n"
    code += "    print(e.code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 False" and done.stderr == ""
    done = subprocess.run([sys.executable, "main.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and all(f"\n    {command}" in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0 and out.startswith(f"usage: python main.py {command} ")
    assert ("--preset" in out) == (command not in ("reproduce", "fix-config"))  # which refuse it


def test_a_flag_may_be_spelled_with_dashes_too() -> None:
    words = ["sample", "--num-samples", "3", "--prompts-file", "a-b.txt", "--text=-a-b", "--guidance_scale", "2"]
    args = parse_arguments(words)
    assert (args.num_samples, args.prompts_file, args.text, args.guidance_scale) == (3, "a-b.txt", ["-a-b"], 2.0)


@pytest.mark.parametrize("flag", ["--preset=demo", "--set=SEED=3"])
@pytest.mark.parametrize("command", [["reproduce", "clip.gif"], ["fix-config", "--checkpoint", "latest.pt"]])
def test_settings_that_a_command_would_not_obey_are_refused(
    command: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, flag])
    assert ended.value.code == 2 and f"unrecognized arguments: {flag}" in capsys.readouterr().err
