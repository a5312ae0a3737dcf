"""tests/devices/played.py itself: a played device computes what the host does, and refuses what the real one would."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.devices.operators import has_mps_kernel
from tests.devices.played import DeviceRefusal, Played, playing

aten = torch.ops.aten


@pytest.mark.parametrize("name", ["mps", "cuda"])
def test_a_step_of_adamw_there_is_the_step_on_the_host(name: str) -> None:
    torch.manual_seed(0)
    host, x = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)), torch.randn(3, 4)
    weights = {key: value.clone() for key, value in host.state_dict().items()}

    def step(model: nn.Module, x: Tensor) -> float:
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    with playing(name):
        there = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))
        there.load_state_dict(weights)
        there.to(name)
        loss = step(there, x.to(name))
        assert all(isinstance(p, Played) and p.device.type == name for p in there.parameters())
        found = {key: value.cpu() for key, value in there.state_dict().items()}
    assert loss == step(host, x)
    assert all(torch.equal(found[key], value) for key, value in host.state_dict().items())


REFUSED_ON_MPS: dict[str, Callable[[Tensor], object]] = {
    "no torch.float64": lambda x: x.double(),
    "MPS has no torch.float64": lambda x: torch.zeros(2, dtype=torch.float64, device="mps"),
    "tensor of shape (2, 2)": lambda x: torch.ones(2, 2, dtype=torch.float64).to("mps"),
    "no torch.complex128": lambda x: x.to(torch.complex128),
    "all tensors on one device": lambda x: x + torch.ones(2, 2),
    "found mps:0 and cpu": lambda x: nn.Linear(2, 2)(x),
    "to numpy": lambda x: x.numpy(),
    "linalg_eig.default is not implemented": lambda x: torch.linalg.eig(x),
}


@pytest.mark.parametrize("reason", REFUSED_ON_MPS)
def test_mps_refuses(reason: str) -> None:
    with playing("mps"):
        x = torch.ones(2, 2).to("mps")
        with pytest.raises(DeviceRefusal, match=reason.replace("(", r"\(").replace(")", r"\)")):
            REFUSED_ON_MPS[reason](x)


def test_cuda_has_float64_and_mixes_no_more_than_mps() -> None:
    with playing("cuda"):
        x = torch.ones(2, 2).to("cuda")
        assert x.double().cpu().dtype is torch.float64
        with pytest.raises(DeviceRefusal, match="all tensors on one device"):
            x + torch.ones(2, 2)


def test_numbers_of_the_host_may_be_mixed_in_and_indices_too() -> None:
    with playing("mps"):
        x = torch.arange(4.0).to("mps")
        assert (x * torch.tensor(2.0))[torch.tensor([1, 3])].tolist() == [2.0, 6.0]


def test_setting_data_changes_what_is_computed_with() -> None:
    with playing("mps"):
        p = nn.Parameter(torch.zeros(2).to("mps"))
        p.data = torch.ones(2).to("mps")
        assert p.sum().item() == 2


@pytest.mark.parametrize(
    ("operator", "there"),
    [
        (aten.add.Tensor, True),  # a kernel of its own
        (aten.mm.out, True),
        (aten.silu_backward.default, True),
        (aten.reshape.default, True),  # made of others
        (aten.linalg_eig.default, False),
        (aten.ormqr.default, False),
    ],
)
def test_pytorch_s_table_says_what_mps_lacks(operator: torch._ops.OpOverload, there: bool) -> None:
    assert has_mps_kernel(operator) is there
