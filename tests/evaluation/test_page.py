"""methods/evaluation/page.py and its template."""

from __future__ import annotations

import base64
import copy
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from methods.evaluation.page import MAX_GENERATED, MAX_PAIRS, ClipPair, cards, plots, render
from methods.evaluation.verdict import verdict
from tests.conftest import moving_square
from tests.evaluation.reports import generated, pair, report, score

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
    for outer in ("recogniser", "motion", "prompt_distance"):
        ways += [("parts", "train", outer, key) for key in whole["parts"]["train"][outer]]
    return ways + [("recogniser", key) for key in whole["recogniser"]] + [("parts", "train")]


# ---- The page -------------------------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_tells_every_part_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)  # its template is found from anywhere
    page = Page(render(report(), [pair(), pair("yes", "held_out")], command="do it"))
    headings = ["Scores", "By noise level", "Controls", "Clips", "How to read it", "How it was made"]
    assert re.findall(rf"(?m)^({'|'.join(headings)})$", page.text) == headings
    for fact in ("12,000", "ab" * 32, "36/40", "0.900", "17.3", "do it", "Text2Sign 0.1.0", "eta 0.0", "0.0120"):
        assert fact in page.text, fact
    assert [name for name, _ in page.elements].count("svg") == 3
    assert "not measured" not in page.text.lower()


def test_the_page_asks_nobody_for_anything():
    source = render(report(), [pair()])
    page = Page(source)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[A-Za-z0-9+/=]*", "", source))
    assert not {"script", "link", "iframe", "object", "base", "form"} & {name for name, _ in page.elements}
    assert not any(key.startswith("on") for _, attrs in page.elements for key in attrs)
    policy = [attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_every_clip_decodes_to_its_own_frames():
    gifs = Page(render(report(), [pair(num_frames=5), pair("yes", num_frames=3)])).gifs()
    assert [gif.n_frames for gif in gifs] == [5, 5, 5, 3, 3, 3]
    assert {gif.size for gif in gifs} == {(16, 16)}


def test_text_from_outside_stays_text():
    whole = report()
    for key in ("checkpoint", "data", "weights", "version"):
        whole[key] = EVIL
    whole["sampling"] = {EVIL: EVIL}
    whole["recogniser"] |= {"ceiling_of": EVIL, "crop": EVIL}
    whole["controls"][0] |= {"name": EVIL, "measure": EVIL, "part": EVIL, "failed": False}
    whole["parts"][EVIL] = whole["parts"].pop("train")
    clips = ClipPair(EVIL, EVIL, [moving_square(0)], [generated(EVIL, 1)], ["other" + EVIL], EVIL)
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


def test_beyond_the_limit_pairs_of_every_part_stay_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch):
    pairs = [pair(f"t{i}", num=1) for i in range(6)] + [pair(f"h{i}", "held_out", num=1) for i in range(2)]
    shown = cards(pairs, fps=8, max_pairs=5)
    assert [card.pair.caption for card in shown] == ["t0", "h0", "t1", "h1", "t2"]
    assert all(len(card.pictures) == 2 for card in shown)
    page = Page(render(report(), [pair(f"t{i}", num=1) for i in range(MAX_PAIRS + 3)]))
    assert f"Left out to keep the page small: 3 of {MAX_PAIRS + 3} captions." in page.text


def test_a_page_that_would_be_too_large_loses_copies_before_captions():
    pairs = [pair(name) for name in ("a", "b", "c")]
    whole = sum(len(picture.data) for card in cards(pairs, fps=8) for picture in card.pictures)
    fewer = cards(pairs, fps=8, max_bytes=3 * whole // 4)
    assert [len(card.pictures) for card in fewer] == [2, 2, 2] and [card.num_hidden for card in fewer] == [1, 1, 1]
    assert cards(pairs, fps=8, max_bytes=10) == []


def test_no_more_than_a_few_copies_of_a_caption_are_shown():
    page = Page(render(report(), [pair(num=MAX_GENERATED + 3)]))
    assert len(page.gifs()) == 1 + MAX_GENERATED and "3 more not shown" in page.text


# ---- Plots and rows -------------------------------------------------------------------------------------------------


def test_a_plot_puts_values_in_proportion_and_noisier_to_the_right():
    whole = report()
    whole["parts"]["train"]["prompt_ranking_by_timestep"] = {"10": score(20), "5": score(40), "0": score(0)}
    places = re.search(r'<polyline points="([^"]*)"', render(whole, [])).group(1)
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, place.split(","))) for place in places.split())
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.2) and x1 > x0
    assert y0 - y2 == pytest.approx((y0 - y1) / 2, abs=0.2) and y1 < y0


def test_noise_levels_are_plotted_in_the_order_of_their_numbers():
    ranking, _, denoising = plots(report())
    assert ranking.ticks == denoising.ticks == [2, 10]
    assert [point[0] for point in denoising.curves["this model"]] == [2, 10] and denoising.top == 1.1


@pytest.mark.parametrize("levels", [{}, {"3": 0.5}, {"0": 0.0}])
def test_a_plot_of_hardly_anything_is_still_a_page(levels: dict[str, float]):
    whole = report() | {"denoising": {t: {"error": y, "mean_clip_error": y} for t, y in levels.items()}}
    for each in whole["parts"].values():
        each["prompt_ranking_by_timestep"] = {t: score(0) for t in levels}
    Page(render(whole, []))


def test_the_style_is_light_and_dark_for_phones_and_for_paper():
    source = render(report(), [])
    for rule in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert rule in source
    assert 'name="viewport"' in source
