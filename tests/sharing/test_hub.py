"""methods/sharing/hub.py: the client's own calls against a server of our own; no hub was at hand."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from methods.sharing.hub import FILES, HubError, push

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
from pathlib import Path
from config import UserError
from methods.sharing.hub import push
for repo in sys.argv[2:]:
    try:
        print(push(Path(sys.argv[1]), repo))
    except UserError as error:
        print("error:", error)
"""


class StandIn(BaseHTTPRequestHandler):
    """As much of the hub as an upload asks: a repository, which files go how, and the commit."""

    calls: list[tuple[str, str, str]]  # path, who asks, body

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else b"".join(iter(self._chunk, b""))
        self.calls.append((self.path, self.headers.get("Authorization", ""), body.decode()))
        if "/refused/" in self.path:
            return self._answer({"error": "not yours"}, status=403)
        if "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._answer({"files": files})
        url = f"http://{self.headers['Host']}/me/tiny"
        commit = {"commitUrl": f"{url}/commit/{'0' * 40}", "commitOid": "0" * 40, "pullRequestUrl": None}
        return self._answer({"url": url, "id": "me/tiny", "warnings": [], "errors": [], **commit})

    def do_GET(self) -> None:
        self._answer({"id": "me/tiny", "sha": "0" * 40, "siblings": [], "tags": [], "private": False})

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _answer(self, found: dict[str, object], *, status: int = 200) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Its address, and the calls that it has got."""
    handler = type("Handler", (StandIn,), {"calls": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", handler.calls
        made.shutdown()
        thread.join()


def pushed(folder: Path, repos: list[str], address: str) -> list[str]:
    """What ``push`` says of each in a process that takes ``address`` for the hub."""
    here = {"HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secret", "HF_HUB_DISABLE_XET": "1"}
    proxies = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    words, env = [sys.executable, "-c", CODE, str(folder), *repos], {**proxies, **here}
    env["HF_HOME"] = str(folder.parent / "hf")
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines() or [done.stderr]


def test_a_folder_goes_up_whole_and_a_refusal_is_one_line(
    tmp_path: Path, server: tuple[str, list[tuple[str, str, str]]]
) -> None:
    address, calls = server
    folder = tmp_path / "tiny"
    files = {name: name.encode() for name in ("README.md", "config.json", "model.safetensors", "samples/0.gif")}
    for name, data in {**files, "mine.txt": b"private", "samples/letter.txt": b"private"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    done, refused = pushed(folder, ["me/tiny", "me/refused"], address)
    assert done == f"{address}/me/tiny" and refused.startswith("error: --push me/refused: 403")
    assert {who for _, who, _ in calls} == {"Bearer hf_secret"}
    assert calls[0][0] == "/api/repos/create"
    (commit,) = (body for path, _, body in calls if "/commit/" in path)
    lines = [json.loads(line) for line in commit.splitlines()]
    sent = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    assert sent == files


def test_without_a_token_nothing_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(HubError, match="needs a token of the hub"):
        push(tmp_path, "me/tiny")


def test_what_goes_up_is_all_that_an_export_writes() -> None:
    assert {"README.md", "config.json", "model.safetensors", "captions.safetensors", "text_encoder/*"} <= set(FILES)
