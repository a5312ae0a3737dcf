"""The served page in a real browser. Not part of the suite; this runs it:

python -m pytest tests/serving/in_chromium.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chromium import Browser, Visitor, open_browser, program
from methods.sampling.loading import load_model
from tests.serving.test_served_page import Served

pytestmark = pytest.mark.skipif(program() is None, reason="Chromium is not installed")
PLAYS = "[...document.querySelectorAll('#answer video')].every(clip => clip.currentTime > 0)"
FOCUS = "document.activeElement.ariaLabel || document.activeElement.innerText || document.activeElement.tagName"


@pytest.fixture(scope="module")
def served(trained_checkpoint: Path) -> Iterator[Served]:
    pytest.importorskip("gradio", reason="requirements-serve.txt is not installed")
    served = Served(load_model(trained_checkpoint))
    yield served
    served.page.close(verbose=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


def visit(browser: Browser, served: Served, width: int = 1280) -> Visitor:
    visitor = browser.visit(served.address, width=width)
    visitor.wait("document.body && document.body.innerText.includes('Generate')")
    visitor.wait("document.querySelector('textarea') === document.activeElement")
    return visitor


def labels(visitor: Visitor) -> list[str]:
    return visitor.evaluate("[...document.querySelectorAll('#answer video')].map(clip => clip.ariaLabel)")


def test_a_prompt_typed_and_entered_plays_and_nothing_comes_from_elsewhere(browser: Browser, served: Served) -> None:
    visitor = visit(browser, served)
    served.free.clear()
    try:
        visitor.type("thank you")
        visitor.press("Enter")
        visitor.wait("document.querySelector('#answer').innerText.match(/processing|sampling|[0-9]s/)")
    finally:
        served.free.set()
    visitor.wait(f"document.querySelector('#answer video') && {PLAYS}")
    assert labels(visitor) == ["Clip 1 of 1, generated for: thank you"]
    assert visitor.evaluate("document.querySelector('#answer a').download").endswith(".mp4")
    assert visitor.evaluate("document.querySelector('#answer ol li').innerText") == "thank you 0.00 away"
    elsewhere = {url[:90] for url in visitor.requests() if not url.startswith((served.address, "data:", "blob:"))}
    assert elsewhere == set()


def test_a_prompt_like_no_caption_is_warned_of(browser: Browser, served: Served) -> None:
    visitor = visit(browser, served)
    visitor.type("the quarterly report of a steel mill")
    visitor.press("Enter")
    visitor.wait("document.querySelector('#answer .warning')")
    assert "resembles nothing" in visitor.evaluate("document.querySelector('#answer .warning').innerText")


def test_an_empty_prompt_is_refused_on_the_page(browser: Browser, served: Served) -> None:
    visitor = visit(browser, served)
    visitor.press("Enter")
    visitor.wait("document.querySelector('#answer [role=alert]')")
    assert visitor.evaluate("document.querySelector('#answer [role=alert]').innerText").startswith(
        "The prompt is empty"
    )
    assert labels(visitor) == []


def test_two_visitors_at_once_get_each_their_own(browser: Browser, served: Served) -> None:
    visitors = {prompt: visit(browser, served) for prompt in ("yes", "no")}
    served.free.clear()
    try:
        for prompt, visitor in visitors.items():
            visitor.type(prompt)
            visitor.press("Enter")
        visitors["no"].wait("document.querySelector('#answer').innerText.includes('queue')")
    finally:
        served.free.set()
    for prompt, visitor in visitors.items():
        visitor.wait(f"document.querySelector('#answer video') && {PLAYS}")
        assert labels(visitor) == [f"Clip 1 of 1, generated for: {prompt}"]


def test_tab_reaches_every_field_the_button_the_clip_and_its_link(browser: Browser, served: Served) -> None:
    visitor = visit(browser, served)
    visitor.type("water")
    visitor.press("Enter")
    visitor.wait("document.querySelector('#answer video')")
    reached = []
    for _ in range(40):
        visitor.press("Tab")
        reached.append(visitor.evaluate(FOCUS))
        if reached[-1] == "Download clip 1 as MP4":
            break
    wanted = ("Clips", "Steps", "Guidance", "Generate", "Clip 1 of 1, generated for: water", "Download clip 1 as MP4")
    assert [name for name in wanted if not any(name in found for found in reached)] == [], reached


def test_a_phone_sees_all_without_scrolling_sideways(browser: Browser, served: Served) -> None:
    visitor = visit(browser, served, width=375)
    visitor.type("hello")
    visitor.press("Enter")
    visitor.wait("document.querySelector('#answer video')")
    time.sleep(0.5)
    assert visitor.evaluate("document.documentElement.scrollWidth") <= 375
    assert visitor.evaluate("document.querySelector('#answer video').getBoundingClientRect().right") <= 375
