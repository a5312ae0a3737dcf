"""config.py: types, limits, relations, suggestions, precedence, presets."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from config import (
    MODEL_KEYS,
    PRESETS,
    Config,
    ConfigError,
    Limits,
    UserError,
    differences,
    field_types,
    from_dict,
    make_config,
    model_keys,
    parse_assignments,
    parse_value,
)

SEED_DEFAULTS = {  # as the project's founding document names them
    "MODEL_ARCHITECTURE": "tinyfusion",
    "TINYFUSION_VARIANT": "DiT-D14/2",
    "TINYFUSION_FREEZE_BACKBONE": False,
    "BATCH_SIZE": 1,
    "LEARNING_RATE": 1e-4,
    "NUM_EPOCHS": 1000,
    "GRADIENT_CLIP": 1.0,
    "NUM_FRAMES": 16,
    "IMAGE_SIZE": 64,
    "INPUT_SHAPE": (3, 16, 64, 64),
    "TIMESTEPS": 50,
    "INFERENCE_TIMESTEPS": 50,
    "NOISE_SCHEDULER": "cosine",
    "TINYFUSION_FRAME_CHUNK_SIZE": 4,
    "GRADIENT_ACCUMULATION_STEPS": 1,
    "SAVE_EVERY_EPOCHS": 10,
    "SAMPLE_EVERY_EPOCHS": 5,
    "TEXT_ENCODER": "distilbert-base-uncased",
    "TINYFUSION_CHECKPOINT": "pretrained/TinyDiT-D14-MaskedKD-500K.pt",
    "DATA_DIR": "training_data",
}


def complaint(**values: Any) -> str:
    """The message of the ConfigError that these values raise."""
    with pytest.raises(ConfigError) as caught:
        Config(**values)
    return str(caught.value)


# ---- Defaults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEED_DEFAULTS)
@pytest.mark.parametrize("preset", ["default", "seed"])
def test_what_the_seed_names_has_the_seeds_value(name: str, preset: str) -> None:
    value = getattr(make_config(preset), name)
    assert value == SEED_DEFAULTS[name] and type(value) is type(SEED_DEFAULTS[name])


def test_every_setting_is_upper_case_and_has_a_default() -> None:
    fields = dataclasses.fields(Config)
    assert [field.name for field in fields] == list(field_types())
    assert all(field.name.isupper() and field.default is not dataclasses.MISSING for field in fields)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().SEED = 7  # type: ignore[misc]


def test_the_input_shape_follows_frames_and_size() -> None:
    assert Config(NUM_FRAMES=7, IMAGE_SIZE=32).INPUT_SHAPE == (3, 7, 32, 32)


def test_model_keys_are_the_settings_of_their_group() -> None:
    assert len(MODEL_KEYS) == 23 and {"TINYFUSION_VARIANT", "NUM_FRAMES", "NOISE_SHIFT"} < set(MODEL_KEYS)
    assert "DISTRIBUTED" not in MODEL_KEYS and "TINYFUSION_FRAME_CHUNK_SIZE" not in MODEL_KEYS


def test_an_architecture_minds_its_own_model_keys_and_a_new_one_the_shared_ones() -> None:
    theirs = {"vivit": "T", "vit3d": "T", "dit3d": "T", "unet3d": "UNET_", "tinyfusion": "TINYFUSION_"}
    common = {key for key in MODEL_KEYS if not key.startswith(("TINYFUSION_", "TUBELET_", "TRANSFORMER_", "UNET_"))}
    for name, beginning in theirs.items():
        own = set(model_keys(name)) - common
        assert common < set(model_keys(name)) and all(key.startswith(beginning) for key in own)
        assert not any(key.startswith("TINYFUSION_") for key in own) or name == "tinyfusion"
    assert model_keys("a sixth") == model_keys("vivit")


# ---- Types, limits, relations ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("BATCH_SIZE", 2.0, "BATCH_SIZE=2.0 is float; wanted int."),
        ("BATCH_SIZE", True, "BATCH_SIZE=True is bool; wanted int."),
        ("BATCH_SIZE", "two", "BATCH_SIZE='two' is str; wanted int."),
        ("DETERMINISTIC", 1, "DETERMINISTIC=1 is int; wanted bool."),
        ("LEARNING_RATE", "fast", "LEARNING_RATE='fast' is str; wanted float."),
        ("DATA_DIR", 3, "DATA_DIR=3 is int; wanted str."),
        ("SEED", None, "SEED=None is NoneType; wanted int."),
    ],
)
def test_another_type_is_refused_and_both_types_are_named(name: str, value: Any, wanted: str) -> None:
    assert complaint(**{name: value}) == wanted


@pytest.mark.parametrize(
    ("name", "inside", "outside", "limits"),
    [
        ("BATCH_SIZE", [1, 99], [0, -1], ">= 1"),
        ("SEED", [0, 2**70], [-1], ">= 0"),
        ("NUM_FRAMES", [2], [1], ">= 2"),
        ("TEXT_MAX_LENGTH", [3, 512], [2, 513], ">= 3 and <= 512"),
        ("LEARNING_RATE", [1e-9, 10.0], [0.0, -1.0, float("inf"), float("nan")], "> 0"),
        ("WEIGHT_DECAY", [0.0], [-1e-9, float("nan")], ">= 0"),
        ("CAPTION_DROPOUT", [0.0, 1.0], [-0.01, 1.01, float("nan")], ">= 0 and <= 1"),
        ("FPS", [0.0, 50.0], [-1.0, 51.0], ">= 0 and <= 50"),
        ("GUIDANCE_SCALE", [0.0, 30.0], [-1.0, float("inf")], ">= 0"),
    ],
)
def test_limits_include_their_ends_and_say_what_was_wanted(
    name: str, inside: list[float], outside: list[float], limits: str
) -> None:
    for value in inside:
        assert getattr(Config(**{name: value}), name) == value
    for value in outside:
        assert complaint(**{name: value}) == f"{name}={value!r} is outside its limits; wanted {limits}."


def test_limits_read_as_an_interval() -> None:
    assert 0.0 not in Limits(0.0, above=True) and 1e-300 in Limits(0.0, above=True)
    assert 2 in Limits(0, 2) and 3 not in Limits(0, 2) and float("nan") not in Limits()


def test_a_whole_number_serves_where_a_float_is_wanted() -> None:
    rate = Config(LEARNING_RATE=1).LEARNING_RATE
    assert rate == 1.0 and type(rate) is float


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"IMAGE_SIZE": 63}, "IMAGE_SIZE=63 is no multiple of 2"),
        ({"IMAGE_SIZE": 40, "TINYFUSION_VARIANT": "DiT-XS/16"}, "IMAGE_SIZE=40 is no multiple of 16"),
        ({"TINYFUSION_ADAPTER_WIDTH": 100}, "ADAPTER_WIDTH=100 is no multiple of 32"),
        ({"INFERENCE_TIMESTEPS": 51}, "INFERENCE_TIMESTEPS=51 is more than TIMESTEPS=50"),
        ({"EXPERIMENT_NAME": ""}, "EXPERIMENT_NAME is empty"),
        ({"EXPERIMENT_NAME": "../x"}, "must be a plain folder name"),
        ({"EXPERIMENT_NAME": "a/b"}, "must be a plain folder name"),
        ({"DATA_DIR": "  "}, "DATA_DIR is empty"),
        ({"TEXT_ENCODER": ""}, "TEXT_ENCODER is empty"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any], wanted: str) -> None:
    assert wanted in complaint(**values)


def test_an_unknown_choice_lists_the_choices_and_suggests_the_nearest() -> None:
    message = complaint(NOISE_SCHEDULER="cosinus")
    assert "Did you mean cosine?" in message and "Wanted one of: cosine, linear." in message
    assert "Did you mean v_prediction?" in complaint(PREDICTION_TYPE="v-prediction")


# ---- Keys, precedence, presets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("BATCHSIZE", "BATCH_SIZE"), ("learning_rate", "LEARNING_RATE"), ("NUM_EPOCH", "NUM_EPOCHS"), ("SEEED", "SEED")],
)
def test_a_wrong_key_suggests_the_near_one(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"no setting '{typed}'. Did you mean {meant}?"):
        make_config("default", {typed: 1})


def test_a_key_that_is_near_to_nothing_is_refused_without_a_guess() -> None:
    with pytest.raises(ConfigError) as caught:
        make_config("default", {"QQQQ": 1})
    assert "Did you mean" not in str(caught.value) and "python main.py config" in str(caught.value)


def test_an_unknown_preset_lists_the_presets() -> None:
    with pytest.raises(
        ConfigError, match="Did you mean demo?.*default, seed, large, published, small, demo, signs, letters, words"
    ):
        make_config("dem")


def test_the_command_line_beats_the_preset_and_the_preset_beats_the_file() -> None:
    assert PRESETS["debug"]["BATCH_SIZE"] != Config().BATCH_SIZE
    assert make_config("default").BATCH_SIZE == Config().BATCH_SIZE
    assert make_config("debug").BATCH_SIZE == PRESETS["debug"]["BATCH_SIZE"]
    assert make_config("debug", {"BATCH_SIZE": "7"}).BATCH_SIZE == 7
    assert make_config("debug", {"BATCH_SIZE": "7"}).NUM_FRAMES == PRESETS["debug"]["NUM_FRAMES"]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid_and_changes_only_what_it_says(preset: str) -> None:
    assert set(differences(make_config(preset), Config())) == set(PRESETS[preset])


@pytest.mark.parametrize("preset", PRESETS)
def test_to_dict_and_from_dict_are_inverse_even_through_json(preset: str) -> None:
    config = make_config(preset, {"SEED": 7})
    assert from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_from_dict_refuses_a_setting_of_another_version() -> None:
    with pytest.raises(ConfigError, match="no setting 'FLUX'"):
        from_dict({**Config().to_dict(), "FLUX": 1})


def test_differences_give_the_old_value_first() -> None:
    assert differences(Config(SEED=7), Config()) == {"SEED": (42, 7)}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("SEED", "7", 7),
        ("LEARNING_RATE", "1e-3", 1e-3),
        ("DETERMINISTIC", "true", True),
        ("DETERMINISTIC", "False", False),
        ("DATA_DIR", "7", "7"),
        ("DATA_DIR", "true", "true"),
        ("NOISE_SCHEDULER", "linear", "linear"),
        ("SEED", "x = 1", "x = 1"),
        ("SEED", "__import__('os')", "__import__('os')"),
        ("SEED", "{[]: 1}", "{[]: 1}"),  # literal_eval: TypeError
        ("SEED", "(" * 5000, "(" * 5000),  # MemoryError, or RecursionError
        ("SEED", "-" * 100_000 + "1", "-" * 100_000 + "1"),
        ("SEED", 7, 7),
    ],
)
def test_text_from_the_command_line_becomes_the_settings_type_and_is_never_run(
    name: str, text: Any, value: Any
) -> None:
    parsed = parse_value(name, text)
    assert parsed == value and type(parsed) is type(value)


def test_assignments_split_at_the_first_sign_only() -> None:
    assert parse_assignments(["A = 1", "B=x=y", "C="]) == {"A": "1", "B": "x=y", "C": ""}
    with pytest.raises(ConfigError, match="wanted KEY=VALUE"):
        parse_assignments(["SEED"])


def test_a_mistake_in_the_config_is_a_users_error() -> None:
    assert issubclass(ConfigError, UserError)


def test_a_dot_is_no_experiment_name() -> None:
    assert "must be a plain folder name" in complaint(EXPERIMENT_NAME=".")
