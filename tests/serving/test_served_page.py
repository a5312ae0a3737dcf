"""commands/serve.py and methods/serving/page.py over HTTP; ``in_chromium.py`` beside this looks with a browser."""

from __future__ import annotations

import importlib.util
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import ConfigError
from main import main
from methods.sampling.loading import LoadedModel, load_model

HAS_GRADIO = importlib.util.find_spec("gradio") is not None
USUAL = [1, 2, 1.0, 7]  # clips, steps, guidance, seed


class Served:
    """A page under its address, whose model can be held up."""

    def __init__(self, loaded: LoadedModel) -> None:
        from methods.serving import page as pages

        self.free, self.begun = threading.Event(), threading.Event()
        self.free.set()
        self.loaded, self.pages, self.port = loaded, pages, free_port()
        self.page = pages.build_page(loaded)
        loaded.model.backbone.register_forward_pre_hook(self.hold)
        self.address = pages.open_page(self.page, host="127.0.0.1", port=self.port).rstrip("/")

    def hold(self, *_: object) -> None:
        self.begun.set()
        assert self.free.wait(60)

    def get(self, path: str, data: bytes | None = None, kind: str = "application/json") -> tuple[int, str]:
        """Status and body of a GET, or of a POST of ``data``."""
        request = urllib.request.Request(f"{self.address}{path}", data, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, reply.read().decode("utf-8", "replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode("utf-8", "replace")

    def ask(self, prompt: str) -> tuple[int, str]:
        body = json.dumps({"data": [prompt, *USUAL]}).encode()
        return self.get("/gradio_api/call/generate", body)

    def answer(self, prompt: str) -> str:
        """The whole stream of events that one request gives."""
        status, body = self.ask(prompt)
        assert status == 200, body
        return self.get(f"/gradio_api/call/generate/{json.loads(body)['event_id']}")[1]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def served(trained_checkpoint: Path) -> Iterator[Served]:
    pytest.importorskip("gradio", reason="requirements-serve.txt is not installed")
    served = Served(load_model(trained_checkpoint))
    yield served
    served.page.close(verbose=False)


def test_a_prompt_gives_a_clip_and_no_file_on_the_server(served: Served) -> None:
    answer = served.answer("hello")
    assert "event: complete" in answer and "data:video/mp4;base64," in answer and "/file=" not in answer
    assert "Nearest training captions" in answer and "hello <small>0.00 away" in answer


@pytest.mark.parametrize("prompt", ["", "   ", "x" * 301])
def test_a_prompt_that_is_empty_or_too_long_is_refused_in_words(served: Served, prompt: str) -> None:
    answer = served.answer(prompt)
    assert 'role=\\"alert\\"' in answer and "The prompt " in answer and "<video" not in answer


def test_no_file_of_the_machine_can_be_had(served: Served, trained_checkpoint: Path) -> None:
    here = [str(trained_checkpoint), str(Path(__file__).resolve()), "/etc/passwd", "config.py", "../../etc/passwd"]
    asked = [f"/gradio_api/{way}{name}" for name in here for way in ("file=", "file/", "file%3D")]
    asked += [f"/{place}/../../../../../../etc/passwd" for place in ("static", "assets", "static/fonts")]
    asked += ["/gradio_api/proxy=http://127.0.0.1:1/", "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd"]
    assert {path: status for path in asked if (status := served.get(path)[0]) not in (400, 403, 404, 405)} == {}


def test_nobody_can_leave_a_file_either(served: Served) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\nhello\r\n--x--\r\n'
    assert served.get("/gradio_api/upload", body, "multipart/form-data; boundary=x")[0] == 413


def test_the_page_tells_no_path_of_the_machine_and_no_analytics(served: Served, trained_checkpoint: Path) -> None:
    status, config = served.get("/config")
    assert status == 200 and str(trained_checkpoint.parent) not in config
    assert served.page.analytics_enabled is False and not served.page.share
    assert served.get("/")[0] == 200


def test_one_request_is_worked_on_eight_wait_and_a_further_one_is_refused(served: Served) -> None:
    served.begun.clear()
    served.free.clear()
    try:
        assert served.ask("first")[0] == 200
        assert served.begun.wait(60)  # it is out of the queue
        waiting = [served.ask("next") for _ in range(served.pages.MAX_WAITING)]
        status, body = served.ask("one too many")
    finally:
        served.free.set()
    assert {status for status, _ in waiting} == {200} and (status, "full" in body.lower()) == (503, True)
    last = json.loads(waiting[-1][1])["event_id"]
    assert "data:video/mp4" in served.get(f"/gradio_api/call/generate/{last}")[1]


def test_a_port_that_is_taken_is_refused(served: Served) -> None:
    other = served.pages.build_page(served.loaded)
    with pytest.raises(ConfigError, match="cannot be served"):
        served.pages.open_page(other, host="127.0.0.1", port=served.port)


def test_mistakes_on_the_command_line_are_one_line(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert main(["serve", "--port", "0"]) == 2
    assert capsys.readouterr().err == "error: --port 0; wanted 1 to 65535.\n"
    assert main(["serve", "--checkpoint", "none.pt"]) == 2
    wanted = "none.pt" if HAS_GRADIO else "pip install -r requirements-serve.txt"
    assert wanted in capsys.readouterr().err
