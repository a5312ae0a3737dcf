"""``serve``: a page on which a person asks for clips."""

from __future__ import annotations

import argparse
import sys
import threading

from commands.common import add_command, add_model, load_model_of, tell
from config import ConfigError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add(commands: argparse._SubParsersAction) -> None:
    """The command and its flags."""
    command = add_command(commands, "serve", run, "a page on which a person asks for clips")
    add_model(command, "clips")
    command.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="default: 127.0.0.1, this machine alone; 0.0.0.0: whoever reaches it, and there is no password",
    )  # fmt: skip
    command.add_argument("--port", type=int, default=7860, metavar="N", help="default: 7860")
    command.epilog = "Needs Gradio: pip install -r requirements-serve.txt. Ctrl-C ends it."


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    if not 1 <= args.port <= 65535:
        raise ConfigError(f"--port {args.port}; wanted 1 to 65535.")
    try:
        from methods.serving import page as pages
    except ImportError as error:
        raise ConfigError(
            f"{error.name} is not installed; wanted for serve: pip install -r requirements-serve.txt"
        ) from error
    loaded = load_model_of(args, {})
    tell(loaded)
    page = pages.build_page(loaded)
    address = pages.open_page(page, host=args.host, port=args.port)
    if args.host not in LOOPBACK:
        print(f"note: whoever reaches {args.host} can use this page; there is no password.", file=sys.stderr)
    print(f"page: {address}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("ended", file=sys.stderr)
    finally:
        page.close(verbose=False)
    return 0
