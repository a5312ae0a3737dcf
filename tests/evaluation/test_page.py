"""methods/evaluation/page.py and what it is made of: verdict, clips, tags, plots."""

from __future__ import annotations

import base64
import copy
import io
import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from methods.evaluation.motion import measure_motion
from methods.evaluation.page import ClipPair, render, write_html
from methods.evaluation.page_clips import MAX_GENERATED, clips_section
from methods.evaluation.scores import Score
from methods.evaluation.verdict import verdict
from methods.sampling.generate import GeneratedClip
from methods.sampling.provenance import Provenance
from tests.conftest import moving_square
from utils.html_tags import VOID, Html, join, tag
from utils.svg_plot import Line, line_plot, tick_step

EVIL = "<script>alert(1)</script> & \"quoted\" 'too'"
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


def score(correct: int, num: int = 40, chance: float = 0.1) -> dict[str, object]:
    return Score(correct, num, chance).to_dict()


def part(correct: int) -> dict[str, object]:
    clips, captions = [moving_square(0), moving_square(1)], ["a", "b"]
    return {
        "num_clips": 40,
        "num_captions": 10,
        "prompt_ranking": score(correct),
        "prompt_ranking_4_way": score(correct, chance=0.25),
        "prompt_ranking_by_timestep": {"10": score(correct), "2": score(0)},
        "retrieval": score(correct),
        "retrieval_psnr_db": 17.3,
        "recogniser": {"real": score(38), "generated": score(correct), "share_of_ceiling": correct / 38},
        "prompt_distance": {"between": 0.2, "within": 0.1, "ratio": 2.0},
        "motion": measure_motion(clips, captions, clips, captions).to_dict(),
    }


def report(train: int = 36, held_out: int = 35, *, failed: bool = True) -> dict[str, object]:
    return {
        "format": 2,
        "version": "0.1.0",
        "checkpoint": "checkpoints/demo/latest_checkpoint.pt",
        "checkpoint_sha256": "ab" * 32,
        "step": 12000,
        "data": "training_data",
        "seed": 42,
        "weights": "averaged",
        "averaged_weights_initial_share": 0.012,
        "sampling": {"num_steps": 50, "eta": 0.0},
        "denoising": {"10": {"error": 0.5, "mean_clip_error": 1.0}, "2": {"error": 0.1, "mean_clip_error": 1.1}},
        "parts": {"train": part(train), "held_out": part(held_out)},
        "recogniser": {
            "num_signs": 10,
            "num_training_signs": 90,
            "crop": "hand",
            "ceiling": score(38),
            "ceiling_of": "held-out real clips",
            "remark": "Two signs look alike.",
        },
        "controls": [
            {
                "name": "shuffled captions",
                "measure": "prompt ranking",
                "part": "train",
                "score": score(4),
                "failed": failed,
            }
        ],
    }


def generated(caption: str, index: int, *, num_frames: int = 4) -> GeneratedClip:
    values = {field.name: 1 for field in fields(Provenance)} | {"prompt": caption, "index": index, "fps": 8}
    return GeneratedClip(moving_square(index, num_frames=num_frames), Provenance(**values))


def pair(caption: str = "hello", where: str = "train", *, num: int = 2, num_frames: int = 4) -> ClipPair:
    clips = [generated(caption, index, num_frames=num_frames) for index in range(num)]
    return ClipPair(caption, where, [moving_square(7, num_frames=num_frames)], clips, [caption, "water"][:num], caption)


def missing_keys(whole: dict[str, object]) -> list[tuple[str, ...]]:
    """The way to every key of a report, two levels into its parts and its recogniser."""
    ways: list[tuple[str, ...]] = [(key,) for key in whole]
    ways += [("parts", "train", *way) for way in [(key,) for key in whole["parts"]["train"]]]
    for outer in ("recogniser", "motion", "prompt_distance"):
        ways += [("parts", "train", outer, key) for key in whole["parts"]["train"][outer]]
    return ways + [("recogniser", key) for key in whole["recogniser"]] + [("parts", "train")]


# ---- The page -------------------------------------------------------------------------------------------------------


def test_the_page_is_well_formed_and_tells_every_part_of_the_report(tmp_path: Path):
    path = write_html(tmp_path / "deep" / "page.html", report(), [pair(), pair("yes", "held_out")], command="do it")
    page = Page(path.read_text(encoding="utf-8"))
    headings = re.findall(
        r"(?m)^(Scores|By noise level|Motion|Controls|Clips|How to read it|How it was made)$", page.text
    )
    assert headings == ["Scores", "By noise level", "Motion", "Controls", "Clips", "How to read it", "How it was made"]
    for fact in ("12,000", "ab" * 32, "36/40", "0.900", "17.3 dB", "do it", "Text2Sign 0.1.0", "eta 0.0", "1.2 %"):
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
    whole["recogniser"] |= {"remark": EVIL, "ceiling_of": EVIL, "crop": EVIL}
    whole["controls"][0] |= {"name": EVIL, "measure": EVIL, "part": EVIL, "failed": False}
    whole["parts"][EVIL] = whole["parts"].pop("train")
    clips = ClipPair(EVIL, EVIL, [moving_square(0)], [generated(EVIL, 1)], ["other" + EVIL], EVIL)
    page = Page(render(whole, [clips], command=EVIL))
    assert "script" not in {name for name, _ in page.elements}
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
    assert not re.search(r"\b(nan|inf)\b", Page(source).text) and '"nan' not in source and ",nan" not in source


def test_a_control_that_did_not_fail_is_loud_and_takes_the_verdict_away():
    page = Page(render(report(failed=False), []))
    assert (
        "DID NOT FAIL" in page.text and "No verdict: a control that must fail did not (shuffled captions)." in page.text
    )
    assert [attrs for name, attrs in page.elements if name == "tr" and attrs.get("class") == "alarm"]
    assert "DID NOT FAIL" not in Page(render(report(), [])).text


# ---- The verdict ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "held_out", "outcome", "words"),
    [
        (36, 35, "obeys", "The model obeys its text on training clips and held-out clips."),
        (4, 3, "does not", "The model does not obey its text on training clips and held-out clips."),
        (36, 3, "partly", "On training clips it obeys its text; on held-out clips it does not obey its text."),
    ],
)
def test_the_verdict_follows_the_scores(train: int, held_out: int, outcome: str, words: str):
    found = verdict(report(train, held_out))
    assert (found.outcome, found.headline) == (outcome, words)


def test_the_upper_end_of_guessing_is_still_guessing():
    high = round(40 * score(0)["chance_95"][1])
    assert verdict(report(high, high)).outcome == "does not"
    assert verdict(report(high + 1, high + 1)).outcome == "obeys"


def test_one_measure_above_guessing_is_obeying_in_part():
    whole = report()
    for each in whole["parts"].values():
        each["retrieval"] = score(2)
    found = verdict(whole)
    assert found.outcome == "partly" and "retrieval does not beat guessing" in found.remarks[0]


@pytest.mark.parametrize("never_seen", [True, False])
def test_a_recogniser_that_does_not_know_real_clips_is_not_counted(never_seen: bool):
    """What it says of clips that it was trained on is asked for only where there are no others."""
    whole = report()
    whole["recogniser"]["ceiling"] = score(4) if never_seen else None
    for each in whole["parts"].values():
        each["recogniser"] = {"real": score(38 if never_seen else 4), "generated": score(1)}
    found = verdict(whole)
    assert found.outcome == "obeys" and "does not know even real clips" in found.remarks[0]


def test_a_score_that_guessing_may_well_reach_is_neither_above_it_nor_below():
    whole = report()
    for each in whole["parts"].values():
        each["retrieval"] = Score(4, 4, 0.5).to_dict()
    found = verdict(whole)
    assert found.outcome == "obeys" and "retrieval has too few clips to tell from guessing" in found.remarks[0]
    assert "too few to tell" in render(whole, [])
    for each in whole["parts"].values():
        each["prompt_ranking"] = each["recogniser"]["generated"] = Score(1, 1, 0.1).to_dict()
    assert verdict(whole).outcome == "unknown"


def test_clips_that_stand_still_are_mentioned():
    whole = report()
    whole["parts"]["train"]["motion"]["amplitude_ratio"] = 0.07
    assert "train: generated clips hardly move (7 % of the real clips' amplitude)." in verdict(whole).remarks


def test_without_a_control_the_verdict_says_so():
    assert "No control was run" in verdict(report() | {"controls": []}).remarks[-1]


# ---- Clips ----------------------------------------------------------------------------------------------------------


def test_the_recogniser_s_answer_stands_under_its_clip_right_or_wrong():
    page = Page(render(report(), [pair("hello")]))
    answers = {
        attrs["class"] for name, attrs in page.elements if name == "span" and "answer" in (attrs.get("class") or "")
    }
    assert answers == {"answer good", "answer bad"}
    assert "✓ recognised" in page.text and "✗ seen as water" in page.text


def test_beyond_the_limit_pairs_of_every_part_stay_and_the_rest_is_counted():
    pairs = [pair(f"t{i}", num=1) for i in range(6)] + [pair(f"h{i}", "held_out", num=1) for i in range(2)]
    page = Page(clips_section(pairs, fps=8, max_pairs=5))
    assert len(page.gifs()) == 2 * 5
    assert "Left out to keep the page small: 3 of 8 captions." in page.text
    assert all(f"\n{name}\n" in page.text for name in ("t0", "t1", "t2", "h0", "h1"))


def test_a_page_that_would_be_too_large_loses_copies_before_captions():
    pairs = [pair(name) for name in ("a", "b", "c")]
    whole = len(clips_section(pairs, fps=8))
    fewer = clips_section(pairs, fps=8, max_bytes=3 * whole // 4)
    assert len(fewer) < whole and "All captions are shown: 3." in fewer and "1 more not shown" in fewer
    assert len(Page(fewer).gifs()) < 9
    assert "3 of 3 captions" in clips_section(pairs, fps=8, max_bytes=10)


def test_no_more_than_a_few_copies_of_a_caption_are_shown():
    page = Page(clips_section([pair(num=MAX_GENERATED + 3)], fps=8))
    assert len(page.gifs()) == 1 + MAX_GENERATED and "3 more not shown" in page.text


# ---- Tags and plots -------------------------------------------------------------------------------------------------


def test_text_is_escaped_once_and_markup_never():
    assert tag("p", "a < b", tag("b", "&"), title='"') == '<p title="&quot;">a &lt; b<b>&amp;</b></p>'
    assert join("<", Html("<br>"), between="|") == "&lt;|<br>"
    assert tag("meta", name="x", class_=None) == '<meta name="x">'


@pytest.mark.parametrize(("highest", "step"), [(1.0, 0.2), (0.8, 0.2), (4.0, 1.0), (37.0, 5.0), (0.0, 1.0)])
def test_ticks_are_round_and_there_are_at_least_four_steps(highest: float, step: float):
    assert tick_step(highest) == pytest.approx(step)


def test_a_plot_puts_values_in_proportion_and_noisier_to_the_right():
    source = line_plot([Line("a", [(0.0, 0.0), (5.0, 1.0), (10.0, 0.5)])], title="t", x_label="x", y_label="y")
    places = re.search(r'<polyline points="([^"]*)"', source).group(1)
    (x0, y0), (x1, y1), (x2, y2) = (tuple(map(float, place.split(","))) for place in places.split())
    assert x2 - x1 == pytest.approx(x1 - x0, abs=0.2) and x1 > x0
    assert y0 - y2 == pytest.approx((y0 - y1) / 2, abs=0.2) and y1 < y0


@pytest.mark.parametrize("points", [[], [(3.0, 0.5)], [(1.0, 0.0), (2.0, 0.0)]])
def test_a_plot_of_hardly_anything_is_still_a_plot(points: list[tuple[float, float]]):
    Page(line_plot([Line("a", points)], title="t", x_label="x", y_label="y"))


def test_the_style_is_light_and_dark_for_phones_and_for_paper():
    source = render(report(), [])
    for rule in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert rule in source
    assert 'name="viewport"' in source
