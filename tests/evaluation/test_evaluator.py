"""methods/evaluation/evaluator.py: a whole evaluation and what it writes."""

from __future__ import annotations

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from commands import evaluate as evaluate_command
from config import UserError
from dataset import TextToSignDataset, data_identity, load_dataset
from main import main
from methods.evaluation import evaluator
from methods.evaluation.controls import UntrainedError
from methods.evaluation.evaluator import EvaluationError, evaluate
from methods.evaluation.part import PARTS, Part, rows_to_judge
from methods.evaluation.ranking import candidates
from methods.evaluation.table import format_report
from methods.sampling import provenance
from methods.sampling.loading import LoadedModel, load_model
from models.text_encoder import TextEncoder
from tests.conftest import moving_square, write_pair
from tests.fake_models import ALL, Blind, Obedient, Seeing, loaded_with
from utils.split import SplitError

QUICK = {"clips_per_caption": 2, "recogniser_steps": 3}


@pytest.fixture(scope="module")
def data(clips_folder: Path) -> TextToSignDataset:
    return TextToSignDataset(clips_folder, num_frames=4, image_size=16)


@pytest.fixture(scope="module")
def learnt(learnt_checkpoint: Path) -> LoadedModel:
    return load_model(learnt_checkpoint)


def test_an_evaluation_writes_its_report_a_page_contact_sheets_and_the_clips(
    learnt: LoadedModel, tmp_path: Path
) -> None:
    data = load_dataset(learnt.config)
    extras = [lambda part: {"fvd": {"generated": 12.5, "num_generated": len(part.clips)}}]
    report = evaluate(learnt, data, folder=tmp_path, extras=extras, **QUICK)
    assert json.loads((tmp_path / "evaluation.json").read_text()) == report
    assert list(report["parts"]) == ["train", "held_out"] and report["step"] == learnt.step
    assert [part["num_clips"] for part in report["parts"].values()] == [4, 4]
    for part in report["parts"].values():
        assert part["prompt_ranking"]["num"] == 4 and part["prompt_ranking"]["chance"] == pytest.approx(1 / 8)
        assert part["prompt_ranking_4_way"]["chance"] == 0.25 and len(part["prompt_ranking_by_timestep"]) == 3
        assert part["retrieval"]["num"] == 8 and 0 < part["retrieval_psnr_db"] < 60
        assert part["motion"]["explained_worst"] <= part["motion"]["explained"] <= 1
    page = (tmp_path / "report.html").read_text()
    assert "data:image/gif;base64," in page and "Does latest_checkpoint.pt obey its text?" in page
    for part in ("train", "held_out"):
        clips = sorted((tmp_path / "generated" / part).iterdir())
        assert [path.name for path in clips] == [f"{i:03d}_{copy}.gif" for i in range(4) for copy in (0, 1)]
        assert provenance.read(clips[1]).index == 1 and provenance.read(clips[0]).step == learnt.step
        with Image.open(tmp_path / f"contact_sheet_{part}.png") as sheet:
            assert sheet.width > 4 * 2 * 16 and sheet.height > 2 * 2 * 16
    table = format_report(report)
    assert all(words in table for words in ("held out: 4 clips", "prompt ranking, 4 captions", "controls, which must"))
    assert report["parts"]["train"]["fvd"]["num_generated"] == 8 and "FVD of generated clips (--fvd_weights)" in table
    assert (
        evaluate(learnt, data, folder=tmp_path / "again", extras=extras, **QUICK) == report
    )  # the same numbers every time


def test_no_forward_of_an_evaluation_sees_more_rows_than_a_batch(
    data: TextToSignDataset, encoder: TextEncoder, tmp_path: Path
) -> None:
    found = {}
    for size in (3, 8):
        models = [loaded_with(backbone, encoder) for backbone in (Obedient(data, encoder), Seeing(data))]
        loaded, blind = (replace(model, batch_size=size) for model in models)
        rows: list[int] = []
        for one in (loaded, blind):
            one.model.backbone.register_forward_pre_hook(lambda _, inputs, rows=rows: rows.append(len(inputs[0])))
        found[size] = evaluate(loaded, data, folder=tmp_path, blind=blind, **QUICK)
        assert max(rows) == size
    assert found[3] == found[8]


def test_a_new_measure_is_one_line(
    data: TextToSignDataset, encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def brightness(part: Part) -> dict[str, object]:
        return {"brightness": float(np.mean(part.generated)) - float(np.mean(part.real))}

    monkeypatch.setattr(evaluator, "MEASURES", (*evaluator.MEASURES, brightness))
    report = evaluate(loaded_with(Obedient(data, encoder), encoder), data, folder=tmp_path, **QUICK)
    assert report["parts"]["clips"]["brightness"] == pytest.approx(0, abs=0.5)


def test_held_out_signs_that_were_never_trained_on_have_no_ceiling(learnt: LoadedModel, tmp_path: Path) -> None:
    report = evaluate(learnt, load_dataset(learnt.config), folder=tmp_path, **QUICK)
    assert report["recogniser"]["ceiling"] is None
    assert "no held-out clip shows a sign that was trained on" in report["recogniser"]["ceiling_of"]
    assert report["parts"]["held_out"]["recogniser"]["generated"] is None


def test_a_model_that_knows_every_clip_obeys_and_its_controls_fail(
    data: TextToSignDataset, encoder: TextEncoder, tmp_path: Path
) -> None:
    loaded = loaded_with(Obedient(data, encoder), encoder)
    report = evaluate(loaded, data, folder=tmp_path, blind=loaded_with(Seeing(data), encoder), **QUICK)
    part = report["parts"]["clips"]  # nothing says which were trained on
    assert part["prompt_ranking"]["correct"] == part["prompt_ranking_4_way"]["correct"] == 8
    assert part["retrieval"]["correct"] == 16 and part["prompt_distance"]["ratio"] is None  # no noise in its clips
    assert part["motion"]["amplitude_ratio"] == pytest.approx(1, abs=0.02)
    names = [control["name"] for control in report["controls"]]
    assert names == ["shuffled captions", "shuffled captions", "no text (guidance 0)", "text-blind model"]
    ranked = [control for control in report["controls"] if control["measure"] == "prompt ranking"]
    assert [(control["score"]["correct"], control["failed"]) for control in ranked] == [(0, True), (0, True)]


def test_a_blind_model_that_learnt_nothing_is_no_control(
    data: TextToSignDataset, encoder: TextEncoder, tmp_path: Path
) -> None:
    loaded = loaded_with(Obedient(data, encoder), encoder)
    with pytest.raises(UntrainedError):
        evaluate(loaded, data, folder=tmp_path / "out", blind=loaded_with(Blind(), encoder), **QUICK)
    assert not (tmp_path / "out").exists()


def test_one_held_out_clip_can_be_judged_and_says_that_it_is_too_few(learnt: LoadedModel, tmp_path: Path) -> None:
    """Its caption is the only one of its part."""
    report = evaluate(learnt, load_dataset(learnt.config), folder=tmp_path, max_clips=1, **QUICK)
    assert [part["num_captions"] for part in report["parts"].values()] == [1, 1]
    assert "has too few clips to tell from guessing" in format_report(report)


def test_fewer_clips_can_be_asked_for(learnt: LoadedModel, tmp_path: Path) -> None:
    """And in a folder that others use too, their files stay, even with names like an evaluation's."""
    mine = [tmp_path / "contact_sheet_mine.png", tmp_path / "generated" / "train" / "000_9.gif"]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    report = evaluate(learnt, load_dataset(learnt.config), folder=tmp_path, max_clips=3, **QUICK)
    assert [(part["num_clips"], part["num_captions"]) for part in report["parts"].values()] == [(3, 3), (3, 3)]
    assert [path.read_text() for path in mine] == ["mine", "mine"]


def test_where_the_clips_could_not_be_written_nothing_says_that_an_evaluation_is_there(
    learnt: LoadedModel, tmp_path: Path
) -> None:
    (tmp_path / "generated").write_text("in the way of a folder")
    with pytest.raises(UserError, match="generated"):
        evaluate(learnt, load_dataset(learnt.config), folder=tmp_path, max_clips=1, **QUICK)
    assert not (tmp_path / "evaluation.json").exists()


def test_clips_that_the_checkpoint_was_not_trained_on_are_told_apart(
    learnt: LoadedModel, data: TextToSignDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = rows_to_judge(learnt, data).parts
    assert set(known) == {"train", "held_out"} and sorted(known["train"] + known["held_out"]) == ALL
    assert data_identity(data, known["train"]).items() <= learnt.training_data.items()
    for index in range(3):
        write_pair(tmp_path, f"other{index}", moving_square(index), f"caption {index}")
    others = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    assert rows_to_judge(learnt, others).parts == {"clips": [0, 1, 2]}
    split_file = tmp_path / "held_out.json"
    split_file.write_text('{"held_out": ["signer0"]}')  # of the clips that it was trained on
    config = replace(learnt.config, SPLIT_FILE=str(split_file))
    assert rows_to_judge(replace(learnt, config=config), others).parts == {"clips": [0, 1, 2]}
    assert "not the clips that the model was trained on" in capsys.readouterr().err
    gone = replace(learnt.config, SPLIT_FILE=str(tmp_path / "gone.json"))
    assert rows_to_judge(replace(learnt, config=gone), others).parts == {"clips": [0, 1, 2]}
    assert "gone.json cannot be read" in capsys.readouterr().err


@pytest.fixture
def with_test(learnt: LoadedModel, clips_folder: Path, tmp_path: Path) -> TextToSignDataset:
    """The clips of the checkpoint's training, of whose held-out ones the last three are for test now."""
    data = load_dataset(learnt.config)
    rows = rows_to_judge(learnt, data)
    places = {row: "train" for row in rows.training} | {row: "test" for row in rows.parts["held_out"][1:]}
    lines = [f"{data.names[i]}.gif,{data.texts[i]},{places.get(i, 'validation')}" for i in range(len(data))]
    folder = Path(shutil.copytree(clips_folder, tmp_path / "clips"))
    (folder / "metadata.csv").write_text("\n".join(["file_name,text,split", *lines]) + "\n")
    return TextToSignDataset(folder, num_frames=4, image_size=16)


def test_test_clips_are_judged_where_they_are_asked_for_and_nowhere_else(
    learnt: LoadedModel, with_test: TextToSignDataset
) -> None:
    splits = [row.split for row in with_test.rows]
    of = {word: [i for i, split in enumerate(splits) if split == word] for word in ("train", "validation", "test")}
    assert [len(rows) for rows in of.values()] == [4, 1, 3]
    by_default = rows_to_judge(learnt, with_test)
    assert by_default.parts == {"train": of["train"], "held_out": of["validation"]}
    assert (by_default.training, by_default.unseen) == (of["train"], of["validation"])
    for word, name in (("train", "train"), ("validation", "held_out"), ("test", "test")):
        found = rows_to_judge(learnt, with_test, PARTS[word])
        assert found.parts == {name: of[word]} and found.training == of["train"]
        assert found.unseen == of["test" if word == "test" else "validation"]


def test_of_other_clips_those_for_test_are_known_and_no_others(
    learnt: LoadedModel, with_test: TextToSignDataset
) -> None:
    stranger = replace(learnt, training_data={})
    tested = [i for i, row in enumerate(with_test.rows) if row.split == "test"]
    others = [i for i in range(8) if i not in tested]
    assert rows_to_judge(stranger, with_test).parts == {"clips": others}
    found = rows_to_judge(stranger, with_test, "test")
    assert (found.parts, found.training, found.unseen) == ({"test": tested}, others, tested)
    with pytest.raises(SplitError, match="No clip of .* is known as held out"):
        rows_to_judge(stranger, with_test, "held_out")


def test_an_evaluation_of_test_clips_has_a_recogniser_that_never_saw_them(
    learnt: LoadedModel, with_test: TextToSignDataset, tmp_path: Path
) -> None:
    report = evaluate(learnt, with_test, folder=tmp_path / "out", only="test", **QUICK)
    assert list(report["parts"]) == ["test"] and report["parts"]["test"]["num_clips"] == 3
    assert report["parts"]["test"]["recogniser"]["real_trained_on"] == 0
    assert {control["part"] for control in report["controls"]} == {"test"}
    assert "test: 3 clips" in format_report(report) and (tmp_path / "out" / "contact_sheet_test.png").exists()


def test_data_without_test_clips_say_so_in_a_line(learnt_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--checkpoint", str(learnt_checkpoint), "--split", "test"]) == 2
    assert "has no test clips; wanted some that its list names as test" in capsys.readouterr().err.splitlines()[-1]


def test_a_clip_is_ranked_among_captions_that_it_could_be_confused_with(tmp_path: Path) -> None:
    captions = ["letter A in X Sign Language", "letter B in X Sign Language", "letter A in Y Sign Language", "a", "b"]
    for index, caption in enumerate(captions):
        write_pair(tmp_path, f"clip{index}", moving_square(index), caption)
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    found = candidates(data, [0, 2, 3], seed=0)
    assert found == [captions[:2], sorted(captions), ["a", "b"]]  # the only one of its language: among all


def test_a_model_at_its_first_step_is_refused_and_nothing_is_written(
    trained_checkpoint: Path, data: TextToSignDataset, tmp_path: Path
) -> None:
    loaded = load_model(trained_checkpoint)
    loaded.config = loaded.config.__class__(**{**loaded.config.to_dict(), "EMA_DECAY": 0.9999, "EMA_EVERY": 10})
    with pytest.raises(UntrainedError, match="at step 8: its averaged weights are still 100% initial"):
        evaluate(loaded, data, folder=tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_one_caption_cannot_be_confused(tmp_path: Path, encoder: TextEncoder) -> None:
    write_pair(tmp_path, "a", moving_square(0), "same")
    write_pair(tmp_path, "b", moving_square(1), "same")
    data = TextToSignDataset(tmp_path, num_frames=4, image_size=16)
    with pytest.raises(EvaluationError, match="has one caption, 'same'; ranking needs at least 2"):
        evaluate(loaded_with(Blind(), encoder), data, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_has_the_defaults_of_the_function() -> None:
    parameters = inspect.signature(evaluate).parameters
    assert evaluate_command.DEFAULTS == {name: parameters[name].default for name in evaluate_command.DEFAULTS}


def test_a_model_that_was_trained_with_its_captions_is_no_blind_one(
    learnt_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(learnt_checkpoint)
    assert main(["evaluate", "--checkpoint", path, "--blind", path]) == 2
    assert "was trained with its captions; wanted SHUFFLE_CAPTIONS=True" in capsys.readouterr().err
