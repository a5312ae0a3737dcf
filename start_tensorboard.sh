#!/usr/bin/env bash
# Shows the logs of a run, or of all runs, on http://localhost:6006. Both work:
#     bash start_tensorboard.sh [EXPERIMENT]
#     python start_tensorboard.sh [EXPERIMENT]
""":"  # bash takes this for the command ":", and hands the file to Python, to which it is a docstring
here="$(cd "$(dirname "$0")" && pwd)"
for python in "$here/.venv/bin/python" python3 python; do
    command -v "$python" > /dev/null && exec "$python" "$0" "$@"
done
echo "error: no Python found. Install Python 3.10+, then: pip install -r requirements.txt" >&2
exit 2
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from config import Config

PORT = 6006


def main():
    parser = argparse.ArgumentParser(prog="start_tensorboard.sh", description="Show training logs in TensorBoard.")
    parser.add_argument("experiment", nargs="?", help="one experiment; default: all")
    parser.add_argument("--logdir", default=Config().LOG_DIR, help="the runs' LOG_DIR; default: %(default)s")
    parser.add_argument("--port", type=int, default=PORT, help="default: %(default)s")
    parser.add_argument("--dry-run", action="store_true", help="print the command, start nothing")
    args = parser.parse_args()
    runs = sorted({path.parent for path in Path(args.logdir).rglob("events.out.tfevents.*")})
    folder = Path(args.logdir, args.experiment) if args.experiment else Path(args.logdir)
    if not runs:
        return f"{args.logdir}/ holds no logs yet. Train first: python main.py train"
    if not any(run.is_relative_to(folder) for run in runs):
        names = ", ".join(str(run.relative_to(args.logdir)) for run in runs)
        return f"{folder} holds no logs. There are: {names}"
    if importlib.util.find_spec("tensorboard") is None:
        return f"{sys.executable} has no tensorboard. Install it: pip install -r requirements.txt"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", str(args.port)]
    if args.dry_run:
        print(*command)
        return None
    print(f"TensorBoard shows {folder} on http://localhost:{args.port} (Ctrl-C ends it)", flush=True)
    os.execv(sys.executable, command)


problem = main()
if problem:
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(2)
