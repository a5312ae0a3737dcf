"""utils/layouts: small folders in the shape of each published layout, read as a person would, traps included."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.layouts.listing import LayoutError, Listing, Row
from utils.layouts.registry import LAYOUTS, read_listing, recognise


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def write(folder: Path, name: str, text: str, *, encoding: str = "utf-8") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def make_pairs(f: Path) -> None:
    touch(f, "hello.mp4", "sub/a b's.webm", "frames/images0001.png", "frames/images0002.png", "alone.gif")
    for name, text in {"hello": "hello", "sub/a b's": "good  day\n", "frames": "walk", "lost": "nothing"}.items():
        write(f, f"{name}.txt", text)


def make_table(f: Path) -> None:
    touch(f, "a.mp4", "b/c.mov", "extra.mp4")
    write(
        f,
        "metadata.csv",
        'file_name,text,start,end,split,signer\na.mp4,"yes, ""please""",0,1.5,train,s1\n'
        "a.mp4,no,1.5,,val,s1\nb/c.mov,why,,,dev,s2\ngone.mp4,lost,,,test,\nb/c.mov,again,,,,\n",
    )


def make_how2sign(f: Path) -> None:
    header = "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE\n"
    touch(f, "raw_videos/-x_0-5-rgb_front.mp4", "raw_videos/-y-5-rgb_front.mp4")
    write(
        f,
        "how2sign_realigned_val.csv",
        f"{header}-x\t-x-5-rgb_front\t-x_0\t-x_0-5-rgb_front\t1.20\t4.75\tFold it.\n"
        '-y\t-y-5-rgb_front\t-y_0\t-y_0-5-rgb_front\t5.01\t7.30\tIt\'s "easy", really.\n'
        "-z\t-z-5-rgb_front\t-z_0\t-z_0-5-rgb_front\t5.01\t7.30\tGone.\n",
    )


def make_phoenix(f: Path) -> None:
    root = f / "PHOENIX-2014-T-release-v3/PHOENIX-2014-T"
    header = "name|video|start|end|speaker|orth|translation\n"
    for split, name in (("train", "one"), ("dev", "two")):
        touch(root, f"features/fullFrame-210x260px/{split}/{name}/images0001.png")
        row = f'{name}|{name}/1/*.png|-1|-1|Signer01|REGEN|später "regnet" es\n'
        write(root, f"annotations/manual/PHOENIX-2014-T.{split}.corpus.csv", header + row)


def make_wlasl(f: Path) -> None:
    instance = {"bbox": [0, 0, 9, 9], "fps": 25, "frame_start": 10, "frame_end": 20, "signer_id": 7}
    instances = [
        {**instance, "video_id": f"0010{n}", "split": split} for n, split in enumerate(("train", "val", "test"))
    ]
    write(f, "WLASL_v0.3.json", json.dumps([{"gloss": "book", "instances": instances}]))
    touch(f, "videos/00100.mp4", "videos/00101.mp4", "videos/99999.mp4")


def make_asl_citizen(f: Path) -> None:
    header = "Participant ID,Video file,Gloss,ASL-LEX Code\n"
    write(f, "splits/train.csv", f"{header}P1,001-BOOK.mp4,BOOK,B_01\nP2,4.7e-7-seedSOUR.mp4,SOUR,D_01\n")
    write(f, "splits/test.csv", f"{header}P9,9-RUN.mp4,RUN1,C_02\n")
    touch(f, "videos/001-BOOK.mp4", "videos/4.7e-7-seedSOUR.mp4", "videos/9-RUN.mp4")


def make_autsl(f: Path) -> None:
    write(f, "SignList_ClassId_TR_EN.csv", "ClassId,TR,EN\n41,kardeş,sibling\n7,acı,pain\n")
    write(f, "train_labels.csv", "signer0_sample1,41\nsigner3_sample9,7\nsigner3_sample10,8\n")
    touch(f, *(f"train/signer{name}_{kind}.mp4" for name in ("0_sample1", "3_sample9") for kind in ("color", "depth")))


def make_csl_daily(f: Path) -> None:
    info = [
        {"name": f"S00000{n}_P0000_T00", "label_char": ["你", "好"], "signer": n, "time": 0, "label_gloss": ["x"]}
        for n in (1, 2)
    ]
    (f / "sentence_label").mkdir(parents=True)
    (f / "sentence_label/csl2020ct_v2.pkl").write_bytes(pickle.dumps({"info": info}))
    write(f, "sentence_label/split_1.txt", "name|split\nS000001_P0000_T00|train\nS000009_P0000_T00|dev\n")
    touch(f, *(f"sentence/frames_512x512/S00000{n}_P0000_T00/000000.jpg" for n in (1, 2)))


def make_lsa64(f: Path) -> None:
    touch(f, "001_001_001.mp4", "064_010_005.mp4")
    write(f, "signs.txt", "001|Opaque\n064|Give\n")


def make_include(f: Path) -> None:
    touch(f, "Adjectives/1. loud/MVI_1.MOV", "Adjectives/2. quiet/MVI_2.MOV")
    rows = "1. loud,Adjectives/1. loud/MVI_1.MOV\n2. quiet,Adjectives/2. quiet/MVI_2.MOV\n"
    write(f, "include.csv", f"Word,FilePath\n{rows}3. Second (Number),Time/3. gone/MVI_3.MOV\n")


Expected = list[tuple[str, str, str, str, float, float | None]]
SHAPES: dict[str, tuple[Callable[[Path], None], Expected, dict[str, int]]] = {
    # name, text, split, signer, start, end; then how many problems of each kind
    "pairs": (
        make_pairs,
        [
            ("frames", "walk", "", "", 0, None),
            ("hello", "hello", "", "", 0, None),
            ("sub/a b's", "good day", "", "", 0, None),
        ],
        {"missing": 1, "unlisted": 1},
    ),
    "table": (
        make_table,
        [
            ("a@0", 'yes, "please"', "train", "s1", 0, 1.5),
            ("a@1.5", "no", "validation", "s1", 1.5, None),
            ("b/c", "why", "validation", "s2", 0, None),
        ],
        {"missing": 1, "row": 1, "unlisted": 1},
    ),
    "how2sign": (
        make_how2sign,
        [
            ("-x_0-5-rgb_front", "Fold it.", "validation", "", 0, None),  # cut already: no times
            ("-y_0-5-rgb_front", 'It\'s "easy", really.', "validation", "", 5.01, 7.3),  # a part of a recording
        ],
        {"missing": 1},
    ),
    "phoenix14t": (
        make_phoenix,
        [
            ("one", 'später "regnet" es', "train", "Signer01", 0, None),
            ("two", 'später "regnet" es', "validation", "Signer01", 0, None),
        ],
        {},
    ),
    "wlasl": (
        make_wlasl,
        [("00100", "book", "train", "7", 0, None), ("00101", "book", "validation", "7", 0, None)],
        {"missing": 1, "unlisted": 1},
    ),
    "asl_citizen": (
        make_asl_citizen,
        [
            ("001-BOOK", "BOOK", "train", "P1", 0, None),
            ("4.7e-7-seedSOUR", "SOUR", "train", "P2", 0, None),
            ("9-RUN", "RUN1", "test", "P9", 0, None),
        ],
        {},
    ),
    "autsl": (
        make_autsl,
        [
            ("signer0_sample1", "sibling", "train", "signer0", 0, None),
            ("signer3_sample9", "pain", "train", "signer3", 0, None),
        ],
        {"row": 1},  # a class that no word is known for; the depth videos are no clips of their own
    ),
    "csl_daily": (
        make_csl_daily,
        [("S000001_P0000_T00", "你好", "train", "1", 0, None), ("S000002_P0000_T00", "你好", "", "2", 0, None)],
        {"missing": 1},
    ),
    "lsa64": (
        make_lsa64,
        [("001_001_001", "Opaque", "", "001", 0, None), ("064_010_005", "Give", "", "010", 0, None)],
        {},
    ),
    "include": (
        make_include,
        [
            ("Adjectives/1. loud/MVI_1", "loud", "", "", 0, None),
            ("Adjectives/2. quiet/MVI_2", "quiet", "", "", 0, None),
        ],
        {"missing": 1},
    ),
}


def kinds(listing: Listing) -> dict[str, int]:
    found = [problem.kind for problem in listing.problems]
    return {kind: found.count(kind) for kind in found}


def facts(row: Row) -> tuple[str, str, str, str, float, float | None]:
    return (row.name, row.text, row.split, row.signer, row.start, row.end)


def test_every_layout_has_a_shape_here() -> None:
    assert SHAPES.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", SHAPES)
def test_a_folder_of_each_shape_is_recognised_and_read(name: str, tmp_path: Path) -> None:
    make, rows, problems = SHAPES[name]
    make(tmp_path)
    assert recognise(tmp_path) == name
    found, listing = read_listing(tmp_path)
    assert found == name
    assert [facts(row) for row in listing.rows] == rows
    assert kinds(listing) == problems
    assert all(row.path.exists() for row in listing.rows)
    assert listing.num_listed == len(rows) + sum(n for kind, n in problems.items() if kind != "unlisted")


def test_frames_of_phoenix_are_stretched_and_both_frame_sets_have_their_rate(tmp_path: Path) -> None:
    make_phoenix(tmp_path / "p")
    make_csl_daily(tmp_path / "c")
    first, second = (read_listing(tmp_path / part)[1].rows[0] for part in "pc")
    assert (first.frames_per_second, first.stretch) == (25.0, 300 / 260)
    assert (second.frames_per_second, second.stretch) == (30.0, 1.0)


class Bomb:
    def __reduce__(self) -> tuple:
        return (print, ("boom",))


def test_a_pickle_that_wants_to_run_something_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_csl_daily(tmp_path)
    (tmp_path / "sentence_label/csl2020ct_v2.pkl").write_bytes(pickle.dumps({"info": Bomb()}))
    with pytest.raises(LayoutError, match="builtins.print"):
        read_listing(tmp_path)
    assert "boom" not in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_are_read_in_any_encoding_that_says_what_it_is(encoding: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    write(tmp_path, "a.txt", "grüß dich 你", encoding=encoding)
    _, listing = read_listing(tmp_path)
    assert listing.rows[0].text == "grüß dich 你" and listing.remarks == []


def test_cp1252_is_read_and_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    write(tmp_path, "a.txt", "grüß dich", encoding="cp1252")
    _, listing = read_listing(tmp_path)
    assert listing.rows[0].text == "grüß dich"
    assert "byte 2 is no UTF-8" in listing.remarks[0] and "cp1252" in listing.remarks[0]


def test_an_unknown_layout_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="wanted auto, phoenix14t"):
        read_listing(tmp_path, "how3sign")
    with pytest.raises(LayoutError, match="is no folder"):
        read_listing(tmp_path / "none")
