"""utils/fingerspelling/lexicon.py: the lexicon -> GIF and TXT pairs."""

from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands.prepare_data import letter_set
from config import ConfigError
from tests.data.pictures import delays_of
from utils.fingerspelling import lexicon as fs
from utils.fingerspelling.drawing import PoseError
from utils.fingerspelling.folder import MANIFEST, Look, copies_in
from utils.reading.reader import read_frames

SMALL = Look(image_size=16, num_frames=4, fps=8)


@pytest.fixture(scope="module")
def index() -> list[fs.Entry]:
    return fs.read_index(fs.lexicon_folder())


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, fs.LexiconReport]:
    output = tmp_path_factory.mktemp("data")
    return output, fs.render_lexicon(output, SMALL, languages=["ase"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_american_letters_become_26_pairs_of_clip_and_caption(rendered):
    output, report = rendered
    assert report.written == tuple(f"ase_{chr(65 + i)}" for i in range(26))
    assert not (report.skipped or report.failed)
    for name in report.written:
        gif = output / "ase" / f"{name}.gif"
        assert read_frames(gif).shape == (4, 16, 16, 3) and sum(delays_of(gif)) == 500
    assert (output / "ase" / "ase_Q.txt").read_text() == "letter Q in American Sign Language\n"


def test_a_clip_says_where_it_comes_from(rendered):
    with Image.open(rendered[0] / "ase" / "ase_A.gif") as image:
        comment = image.info["comment"].decode()
    assert comment.startswith("letter A in American Sign Language; spoken-to-signed (MIT), ase/")


def test_running_again_writes_the_same_over_whatever_lies_there(tmp_path: Path):
    letters = frozenset("ABC")
    fs.render_lexicon(tmp_path, SMALL, languages=["ase"], letters=letters)
    before = contents(tmp_path / "ase")
    (tmp_path / "ase" / "ase_A.gif").write_bytes(b"damaged")
    (tmp_path / "ase" / "ase_B.txt").unlink()
    (tmp_path / "ase" / "ase_C.txt").write_text("another caption")
    fs.render_lexicon(tmp_path, SMALL, languages=["ase"], letters=letters)
    assert contents(tmp_path / "ase") == before


def test_the_number_of_processes_changes_no_byte(rendered, tmp_path: Path):
    fs.render_lexicon(tmp_path, replace(SMALL, copies=1), languages=["ase"])  # 52 clips: two processes
    files = contents(tmp_path / "ase")
    plain = {name: data for name, data in contents(rendered[0] / "ase").items() if name != MANIFEST}
    assert plain == {name: files[name] for name in plain}


def test_french_rows_that_repeat_american_files_are_skipped_and_named(index: list[fs.Entry]):
    chosen, skipped = fs.select_entries(index, None)
    assert len(chosen) == 600 and len({entry.source for entry in chosen}) == 600
    assert [name for name, _ in skipped] == [f"fsl_{chr(65 + i)}" for i in range(26)]
    assert skipped[0][1].startswith("fsl A repeats ase/")


def test_french_alone_repeats_nothing_and_is_rendered(index: list[fs.Entry]):
    chosen, skipped = fs.select_entries(index, ["fsl"])
    assert len(chosen) == 26 and not skipped
    assert chosen[0].clip.caption == "letter A in French Sign Language"


def test_languages_keep_to_what_was_asked(index: list[fs.Entry]):
    chosen, _ = fs.select_entries(index, ["swl", "ase", "swl"])
    assert {entry.language for entry in chosen} == {"ase", "swl"} and len(chosen) == 26 + 29


def test_an_unknown_language_is_named_with_all_known(tmp_path: Path):
    with pytest.raises(fs.LexiconError, match=r"'German'; wanted some of: ase \(American\), .*, ukl \(Ukrainian\)\.$"):
        fs.render_lexicon(tmp_path, SMALL, languages=["ase", "German"])
    assert not list(tmp_path.iterdir())


def test_a_missing_package_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(fs.LexiconError, match=r"Run: pip install -r requirements-demo\.txt"):
        fs.render_lexicon(tmp_path, SMALL, languages=["ase"])


def test_a_clip_that_cannot_be_drawn_is_named_and_the_others_are_written(tmp_path: Path):
    report = fs.render_lexicon(tmp_path, SMALL, languages=["gss"])
    assert [name for name, _ in report.failed] == ["gss_Omicron", "gss_Phi"]  # coordinates up to 3,751
    assert all("of the frames; wanted at least 50%" in reason for _, reason in report.failed)
    assert len(report.written) == 22 and len(list((tmp_path / "gss").glob("*.gif"))) == 22
    assert len(fs.render_lexicon(tmp_path, SMALL, languages=["gss"]).failed) == 2


@pytest.mark.parametrize("data", [b"", b"no pose", bytes(200)])
def test_an_unreadable_pose_file_is_an_error_with_its_name(tmp_path: Path, data: bytes):
    (tmp_path / "bad.pose").write_bytes(data)
    with pytest.raises(PoseError, match=r"bad\.pose"):
        fs.read_points(tmp_path / "bad.pose")


def test_a_pose_file_cut_anywhere_is_an_error(tmp_path: Path, index: list[fs.Entry]):
    data = (fs.lexicon_folder() / index[0].source).read_bytes()
    for share in (0.01, 0.05, 0.3, 0.9):
        (tmp_path / "cut.pose").write_bytes(data[: int(share * len(data))])
        with pytest.raises(PoseError, match=r"cut\.pose"):
            fs.read_points(tmp_path / "cut.pose")


def test_italian_left_hands_are_drawn_as_right_hands(index: list[fs.Entry]):
    entry = next(e for e in index if e.language == "ise" and e.letter == "A")
    points = fs.read_points(fs.lexicon_folder() / entry.source)
    assert np.isnan(points.hands[1]).all() and not np.isnan(points.hands[0]).all()
    assert np.isfinite(fs.clean(points).hands[1]).all()


def test_the_picture_does_not_depend_on_how_many_frames_are_taken(index: list[fs.Entry]):
    folder = fs.lexicon_folder()
    one, three = (fs.draw_letter(index[9].clip, Look(32, n, 8), fs.AS_IT_IS, folder=folder) for n in (1, 3))
    np.testing.assert_array_equal(one[0], three[1])


def test_a_report_prints_counts_and_names_every_row_that_gave_no_clip():
    report = fs.LexiconReport(("ase_A",), (("fsl_A", "repeats ase"),), (("gss_Phi", "no hand"),))
    assert str(report).splitlines() == [
        "1 clips written.",
        "skipped: fsl_A: repeats ase",
        "failed: gss_Phi: no hand",
    ]


def test_copies_lie_beside_the_letters_with_the_same_captions_and_other_pictures(rendered, tmp_path: Path):
    report = fs.render_lexicon(tmp_path, replace(SMALL, copies=2), languages=["ase"], letters=frozenset("AJZ"))
    assert report.written[:3] == ("ase_A", "ase_A__1", "ase_A__2") and len(report.written) == 9
    files, plain = contents(tmp_path / "ase"), contents(rendered[0] / "ase")
    for letter in "AJZ":
        assert files[f"ase_{letter}.gif"] == plain[f"ase_{letter}.gif"]
        assert files[f"ase_{letter}__1.txt"] == files[f"ase_{letter}.txt"] == plain[f"ase_{letter}.txt"]
        assert len({files[f"ase_{letter}{copy}.gif"] for copy in ("", "__1", "__2")}) == 3
    copies = [(f"ase_{letter}__{copy}", f"ase_{letter}") for letter in "AJZ" for copy in (1, 2)]
    assert copies_in(tmp_path / "ase") == dict(copies)


def test_what_a_run_with_fewer_copies_leaves_over_is_named(tmp_path: Path):
    def render(copies: int) -> fs.LexiconReport:
        return fs.render_lexicon(tmp_path, replace(SMALL, copies=copies), languages=["ase"], letters=frozenset("ABC"))

    render(2)
    less = render(1)
    assert len(less.written) == 6 and len(copies_in(tmp_path / "ase")) == 6
    assert less.left_over == tuple(f"ase/ase_{letter}__2.gif" for letter in "ABC")
    assert "3 other clips" in str(less) and "ase/ase_A__2.gif" in str(less)
    assert not render(3).left_over


def test_only_the_asked_letters_are_chosen(index: list[fs.Entry]) -> None:
    chosen, skipped = fs.select_entries(index, ["ssp", "ase"], frozenset("ABÑ"))
    assert [entry.name for entry in chosen if entry.language == "ase"] == ["ase_A", "ase_B"] and not skipped
    assert {entry.letter.upper() for entry in chosen if entry.language == "ssp"} <= set("ABÑ")
    latin, _ = fs.select_entries(index, None, frozenset(string.ascii_uppercase))
    assert len(latin) == 410


def test_letters_that_no_asked_language_has_are_an_error(index: list[fs.Entry]) -> None:
    with pytest.raises(fs.LexiconError, match="No clip of ase shows one of the letters Ж"):
        fs.select_entries(index, ["ase"], frozenset("Ж"))


@pytest.mark.parametrize(
    ("text", "letters"), [("A-E", "ABCDE"), ("abc", "ABC"), ("X-ZA", "AXYZ"), ("Ñ", "Ñ"), ("ß", "ẞ")]
)
def test_letters_are_given_one_by_one_or_as_a_range(text: str, letters: str) -> None:
    assert letter_set(text) == frozenset(letters)


@pytest.mark.parametrize("text", ["", "Z-A", "A-", "-", "A,B", "A-B-C"])
def test_letters_that_make_no_sense_are_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="--letters"):
        letter_set(text)


@pytest.mark.parametrize(
    ("letter", "language", "stem"),
    [("A", "ase", "ase_A"), ("bb", "ise", "ise_BB"), ("Ö", "gsg", "gsg_O-with-diaeresis"), ("Ж", "ukl", "ukl_Zhe")],
)
def test_file_names_are_spelled_out_in_ascii(letter: str, language: str, stem: str):
    assert fs.file_stem(letter, language) == stem


def test_every_file_name_is_ascii_and_distinct_even_where_disks_ignore_case():
    index = fs.read_index(fs.lexicon_folder())
    stems = [entry.name for entry in index]
    assert len({stem.lower() for stem in stems}) == len(index)
    assert all(stem.isascii() and stem.replace("-", "").replace("_", "").isalnum() for stem in stems)
