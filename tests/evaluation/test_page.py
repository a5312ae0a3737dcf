"""methods/evaluation/page.py and its template."""

from __future__ import annotations

import base64
import copy
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import av
import pytest
from PIL import Image

from methods.evaluation.page import MAX_GENERATED, MAX_PAIRS, ClipPair, render
from methods.evaluation.verdict import verdict
from tests.conftest import moving_square
from tests.evaluation.reports import generated, pair, report

EVIL = "<script>alert(1)</script> & \"quoted\" 'too' {{ 7*7 }} {% set x = 1 %}"
VOID = {"meta", "img", "br"}
PREFIX = "data:image/gif;base64,"


class Page(HTMLParser):
    """Checks that every element is closed in turn; collects text, addresses and elements."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{name}> has an attribute twice"
        self.elements.append((name, dict(attrs)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data + "\n"

    def gifs(self) -> list[Image.Image]:
        sources = [attrs["src"] for name, attrs in self.elements if name == "img"]
        assert all(source.startswith(PREFIX) for source in sources)
        return [Image.open(io.BytesIO(base64.b64decode(source[len(PREFIX) :]))) for source in sources]


def missing_keys(whole: dict[str, object]) -> list[tuple[str, ...]]:
    """The way to every key of a report, two levels into its parts and its recogniser."""
    ways: list[tuple[str, ...]] = [(key,) for key in whole]
    ways += [("parts", "train", *way) for way in [(key,) for key in whole["parts"]["train"]]]
    for outer in ("recogniser", "motion", "prompt_distance", "variety", "hands", "order"):
        ways += [("parts", "train", outer, key) for key in whole["parts"]["train"][outer]]
    return ways + [("recogniser", key) for key in whole["recogniser"]] + [("parts", "train")]


# ---- The page -------------------------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_tells_every_part_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # its template is found from anywhere
    page = Page(render(report(), [pair(), pair("yes", "held_out")], command="do it"))
    headings = ["Scores", "Denoising", "Controls", "Clips", "How to read it", "How it was made"]
    assert re.findall(rf"(?m)^({'|'.join(headings)})$", page.text) == headings
    for fact in ("12,000", "ab" * 32, "36/40", "0.900", "17.3", "do it", "Text2Sign 0.1.0", "eta 0.0", "0.0120"):
        assert fact in page.text, fact
    assert "not measured" not in page.text.lower()


def test_the_page_asks_nobody_for_anything():
    source = render(report(), [pair()])
    page = Page(source)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]*", "", source))
    assert not {"script", "link", "iframe", "object", "base", "form"} & {name for name, _ in page.elements}
    assert not any(key.startswith("on") for _, attrs in page.elements for key in attrs)
    policy = [attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"]


def test_every_clip_decodes_to_its_own_frames():
    gifs = Page(render(report(), [pair(num_frames=5), pair("yes", num_frames=3)])).gifs()
    assert [gif.n_frames for gif in gifs] == [5, 5, 5, 3, 3, 3]
    assert {gif.size for gif in gifs} == {(16, 16)}


def test_clips_in_mp4_are_videos_that_play_by_themselves_and_the_real_one_bears_no_comment():
    shown = pair(num_frames=5)
    shown = replace(shown, generated=[replace(clip, form="mp4") for clip in shown.generated])
    page = Page(render(report(), [shown]))
    videos = [attrs for name, attrs in page.elements if name == "video"]
    assert page.gifs() == [] and len(videos) == 3
    comments = []
    for attrs in videos:
        assert {"autoplay", "loop", "muted", "playsinline"} < attrs.keys()
        kind, _, content = attrs["src"].partition(";base64,")
        with av.open(io.BytesIO(base64.b64decode(content))) as file:
            assert kind == "data:video/mp4" and file.streams.video[0].frames == 5
            comments.append(bool(file.metadata.get("comment")))
    assert comments == [False, True, True]


def test_text_from_outside_stays_text():
    whole = report()
    for key in ("checkpoint", "data", "weights", "version"):
        whole[key] = EVIL
    whole["sampling"] = {EVIL: EVIL}
    whole["recogniser"] |= {"ceiling_of": EVIL, "crop": EVIL}
    whole["controls"][0] |= {"name": EVIL, "measure": EVIL, "part": EVIL, "failed": False}
    whole["parts"][EVIL] = whole["parts"].pop("train")
    clips = ClipPair(EVIL, EVIL, moving_square(0), [generated(EVIL, 1)], ["other" + EVIL], EVIL)
    whole["checkpoint"] = EVIL + "/<i>{{ 7*7 }}.pt"
    page = Page(render(whole, [clips], command=EVIL))
    assert not {"script", "i"} & {name for name, _ in page.elements}
    assert "Does <i>{{ 7*7 }}.pt obey its text?" in page.text
    assert page.text.count(EVIL) >= 12


@pytest.mark.parametrize("null", [False, True])
def test_whatever_is_missing_is_said_to_be_not_measured(null: bool):
    for way in missing_keys(report()):
        whole = copy.deepcopy(report())
        inner = whole
        for key in way[:-1]:
            inner = inner[key]
        if null:
            inner[way[-1]] = None
        else:
            del inner[way[-1]]
        Page(render(whole, []))
        assert verdict(whole).headline, way
    del whole["parts"]
    assert "not measured" in Page(render(whole, [])).text.lower()
    page = Page(render({}, []))
    assert "No verdict: nothing was measured." in page.text and "nan" not in page.text


def test_numbers_that_are_none_are_not_shown_as_numbers():
    whole = report()
    whole["parts"]["train"]["retrieval_psnr_db"] = float("inf")
    whole["denoising"]["2"]["error"] = float("nan")
    source = render(whole, [])
    assert "infinite" in source
    assert not re.search(r"\b(nan|inf)\b", Page(source).text) and '"nan' not in source and ",nan" not in source


def test_a_control_that_did_not_fail_is_loud_and_takes_the_verdict_away():
    page = Page(render(report(failed=False), []))
    assert (
        "DID NOT FAIL" in page.text and "No verdict: a control that must fail did not (shuffled captions)." in page.text
    )
    assert [attrs for name, attrs in page.elements if name == "tr" and attrs.get("class") == "alarm"]
    assert "DID NOT FAIL" not in Page(render(report(), [])).text


# ---- Clips ----------------------------------------------------------------------------------------------------------


def test_the_recogniser_s_answer_stands_under_its_clip_right_or_wrong():
    source = render(report(), [pair("hello")])
    assert '<span class="good">✓ recognised</span>' in source
    assert '<span class="bad">✗ seen as water</span>' in source


def test_beyond_the_limit_pairs_and_clips_are_left_out_and_that_is_said():
    many = [pair(f"t{i}", num=1, num_frames=1) for i in range(MAX_PAIRS + 3)]
    page = Page(render(report(), [*many, pair("h", "held_out", num=MAX_GENERATED + 3)]))
    assert len(page.gifs()) == 2 * MAX_PAIRS + 1 + MAX_GENERATED
    assert f"{MAX_PAIRS} of {MAX_PAIRS + 3} captions" in page.text and "1 of 1 captions" in page.text
    assert f"At most {MAX_GENERATED} generated clips of a caption are shown" in page.text


# ---- Noise levels and style ----------------------------------------------------------------------------------------


def test_noise_levels_stand_in_the_order_of_their_numbers():
    text = Page(render(report(), [])).text
    assert (
        0
        < text.index("t = 2 alone")
        < text.index("t = 10 alone")
        < text.index("at t = 2, SNR 16.0 dB\n")
        < text.index("at t = 10, SNR -20.0 dB\n")
    )


def test_the_style_is_light_and_dark_for_phones_and_for_paper():
    source = render(report(), [])
    for rule in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert rule in source
    assert 'name="viewport"' in source
