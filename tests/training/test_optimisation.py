"""methods/training/optimisation.py: learning rate, averaging, weight decay."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from config import Config
from methods.sampling.loading import load_model
from methods.trainer import Trainer
from methods.training.optimisation import AdamW, Ema
from schedulers.training_schedules import ema_decay, ema_initial_share, learning_rate, motion_weight
from tests.training.test_trainer import advance, assert_equal, weights
from utils.checkpoints import file as checkpoint
from utils.checkpoints.file import latest_path

MakeConfig = Callable[..., Config]


def test_the_learning_rate_warms_up_linearly_and_stays() -> None:
    config = Config(LEARNING_RATE=2.0, WARMUP_STEPS=4)
    assert [learning_rate(config, step, 100) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert learning_rate(config, 99, 100) == 2.0
    assert learning_rate(Config(LEARNING_RATE=2.0, WARMUP_STEPS=0), 0, 100) == 2.0


def test_the_learning_rate_falls_as_half_a_cosine_from_its_start_to_zero() -> None:
    config = Config(LEARNING_RATE=2.0, WARMUP_STEPS=0, LR_DECAY="cosine", LR_DECAY_START=0.5)
    assert [learning_rate(config, step, 100) for step in (0, 49, 50)] == [2.0, 2.0, 2.0]
    assert learning_rate(config, 75, 100) == pytest.approx(1.0)
    assert learning_rate(config, 50 + 50 / 3, 100) == pytest.approx(1.5)
    assert learning_rate(config, 100, 100) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(("decay", "every"), [(0.999, 1), (0.9, 1), (0.999, 10), (0.95, 3)])
def test_the_initial_share_is_what_is_left_of_the_first_weights(decay: float, every: int) -> None:
    """A weight that is 1 at first and 0 ever after: its average is the share."""
    config = Config(EMA_DECAY=decay, EMA_EVERY=every)
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    ema = Ema(model, torch.device("cpu"), decay=decay)
    nn.init.zeros_(model.weight)
    for step in range(1, 101):
        if step % every == 0:
            ema.update(model, ema_decay(config, step))
    assert float(ema.average["weight"]) == pytest.approx(ema_initial_share(config, 100), rel=1e-4, abs=1e-30)


def test_the_decay_is_warmed_up_and_taken_to_the_power_of_the_steps_it_stands_for() -> None:
    assert ema_decay(Config(EMA_DECAY=0.999, EMA_EVERY=1), 0) == pytest.approx(0.1)
    assert ema_decay(Config(EMA_DECAY=0.9, EMA_EVERY=1), 1000) == 0.9
    assert ema_decay(Config(EMA_DECAY=0.9, EMA_EVERY=10), 1000) == pytest.approx(0.9**10)
    assert ema_decay(Config(EMA_DECAY=0.0, EMA_EVERY=1), 5) == 0.0


def test_without_decay_no_average_is_kept_copied_or_saved_and_the_model_stands_for_it(
    debug_config: MakeConfig,
) -> None:
    """As ``--preset seed`` has it: 1.4 GB less on the host, in every step and in every checkpoint."""
    config = debug_config(EMA_DECAY=0.0)
    trainer = Trainer(config)
    advance(trainer, 2)
    assert trainer.ema.average == {} and ema_initial_share(config, 2) == 0.0
    assert checkpoint.load(trainer.save())["ema"] == {}
    before = weights(trainer)
    with trainer.ema.applied_to(trainer.model):
        assert_equal(weights(trainer), before)
    loaded = load_model(latest_path(config)).model.state_dict()
    assert_equal({name: loaded[name] for name in before}, before)


def test_a_run_may_begin_to_average_and_stop_it_when_it_goes_on(debug_config: MakeConfig) -> None:
    """From the weights as they are then; a checkpoint that holds an average nobody wants is read all the same."""
    for first, then in ((0.0, 0.9), (0.9, 0.0)):
        trainer = Trainer(debug_config(EMA_DECAY=first, EXPERIMENT_NAME=f"from_{first}"))
        advance(trainer, 2)
        path = trainer.save()
        resumed = Trainer(debug_config(EMA_DECAY=then, EXPERIMENT_NAME=f"from_{first}"), resume=path)
        parameters = {name: p.detach() for name, p in trainer.model.named_parameters()}
        assert_equal(resumed.ema.average, parameters if then else {})
        advance(resumed, 1)


def test_averaged_weights_are_applied_and_the_own_ones_come_back_even_after_an_error() -> None:
    """In the model's own memory, which FSDP gathers from and a GPU has no second of."""
    model = nn.Linear(2, 2)
    ema = Ema(model, torch.device("cpu"), decay=0.9)
    place, average = model.weight.data_ptr(), model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    own = model.weight.detach().clone()
    with pytest.raises(RuntimeError, match="in between"), ema.applied_to(model):
        assert torch.equal(model.weight, average) and model.weight.data_ptr() == place
        raise RuntimeError("in between")
    assert torch.equal(model.weight, own) and torch.equal(ema.average["weight"], average)


def test_only_matrices_decay(debug_config: MakeConfig) -> None:
    trainer = Trainer(debug_config(WEIGHT_DECAY=0.3))
    matrices, others = trainer.optimizer.param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert all(p.dim() >= 2 for p in matrices["params"]) and all(p.dim() < 2 for p in others["params"])
    total = sum(len(group["params"]) for group in trainer.optimizer.param_groups)
    assert total == len(list(trainer.model.parameters()))


def test_our_adamw_takes_the_steps_of_torchs_to_the_bit_and_reads_its_state() -> None:
    """Also on from a state that the other one saved."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
    other = copy.deepcopy(net)
    settings = {"lr": 0.05, "betas": (0.9, 0.99), "weight_decay": 0.1, "fused": True}
    ours, theirs = AdamW(net.parameters(), **settings), torch.optim.AdamW(other.parameters(), **settings)
    for step in range(6):
        if step == 3:
            ours = AdamW(net.parameters(), **settings)
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
        x = torch.randn(5, 6)
        for model, optimizer in ((net, ours), (other, theirs)):
            model(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    one, two = ours.state_dict(), theirs.state_dict()
    assert one["param_groups"] == two["param_groups"] and set(one["state"]) == set(two["state"])
    for key, state in one["state"].items():
        assert all(torch.equal(value, two["state"][key][name]) for name, value in state.items())


def test_the_weight_of_motion_falls_in_a_line_from_the_first_step_to_nothing() -> None:
    config = Config(MOTION_WEIGHT=8.0)
    assert [motion_weight(config, step, 4) for step in range(5)] == [8.0, 6.0, 4.0, 2.0, 0.0]
