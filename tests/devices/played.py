"""A device that is not here, played on the CPU: tensors that say they lie on it, and refuse what it would refuse.

``playing("mps")`` is a world in which ``x.to("mps")``, ``torch.zeros(..., device="mps")`` and a module's ``.to`` give
``Played`` tensors: their numbers lie in an ordinary tensor of the host, so every operator really runs; their ``device``
is the played one. As on the real device it is an error

- to mix them with tensors of the host that are more than a number,
- to read them as numpy arrays before ``.cpu()``,
- on MPS to have float64 or complex128 among them, or to run an operator for which PyTorch has no kernel there
  (``operators.py`` reads that off PyTorch's own table).

Inside a FakeTensorMode the numbers are fake too, and a model of any size takes no memory. What it cannot show: the
device's own rounding, its speed, its memory, and faults of its kernels.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._C import DisableTorchFunctionSubclass
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing

from tests.devices.operators import has_mps_kernel

aten = torch.ops.aten
WIDE = (torch.float64, torch.complex128)
MAY_MIX = (aten.copy_.default, aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default)  # and index


class DeviceRefusal(Exception):
    """What the real device would have raised."""


class Played(Tensor):
    """A tensor of the played device around one of the host. To torch's own code it lies on the host."""

    played = torch.device("mps:0")  # one device is played at a time
    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Played:
        place = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        return Tensor._make_wrapper_subclass(cls, inner.size(), dtype=inner.dtype, **place)

    def __init__(self, inner: Tensor) -> None:
        _refuse_wide(inner, "a tensor")
        self.inner = inner

    def __repr__(self, **_: Any) -> str:
        return f"Played({self.inner!r})"

    @property
    def device(self) -> torch.device:
        return Played.played

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in (Tensor.numpy, Tensor.__array__):
            raise DeviceRefusal(f"can't convert {cls.played} device type tensor to numpy. Use Tensor.cpu() first")
        if func in (Tensor.tolist, Tensor.untyped_storage, Tensor.__reduce_ex__):  # read, or written to a file
            return func(args[0].inner, *args[1:])
        if func == Tensor.data.__set__ and isinstance(args[1], Played):  # else only the outside would change
            args[0].inner = args[1].inner
            return None
        with DisableTorchFunctionSubclass():  # what comes of it is Played already
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func not in MAY_MIX:
            _each(functools.partial(_refuse_mixing, func), (args, kwargs))
        _refuse_operator(func)
        out = func(*_each(_inner, args), **_each(_inner, kwargs))
        return return_and_correct_aliasing(func, args, kwargs, _each(_wrapped, out))


class Playing(TorchFunctionMode):
    """Sends what names the played device there, and brings back what is asked for on the host."""

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return _moved(func, args, kwargs)
        if _is_played(kwargs.get("device")):
            return _wrapped(func(*args, **{**kwargs, "device": "cpu"}))
        if kwargs.get("device") is not None:  # empty_like and its kin, to elsewhere
            args = _each(_inner, args)
        return func(*args, **kwargs)


@contextlib.contextmanager
def playing(name: str) -> Iterator[None]:
    """Within it ``name`` (mps or cuda) is a device that tensors can lie on."""
    before, Played.played = Played.played, torch.device(name, 0)
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter that moves is another object here
    autocast, torch.autocast = torch.autocast, _Autocast
    try:
        with Playing():
            yield
    finally:
        Played.played, torch.autocast = before, autocast
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)


class _Autocast(torch.autocast):
    """The played device's autocast is the host's: what torch sees are tensors of the host."""

    def __init__(self, device_type: str, **how: Any) -> None:
        super().__init__("cpu" if device_type == Played.played.type else device_type, **how)


def _moved(func: Callable, args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """``x.to(...)``, ``x.cpu()`` and ``x.cuda()``: across the border by a copy, within one place as torch has it."""
    x = args[0]
    given = [*args[1:], kwargs.get("device"), kwargs.get("dtype"), kwargs.get("other")]
    asked = {Tensor.cpu: "cpu", Tensor.cuda: Played.played}.get(func)
    dtype = None
    for value in given:
        if isinstance(value, Tensor):
            asked, dtype = value.device, value.dtype
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, str | torch.device):
            asked = value
    copy = kwargs.get("copy", func is Tensor.to and len(args) > 1 and args[-1] is True)
    if asked is None or _is_played(asked) == isinstance(x, Played):
        elsewhere = {} if asked is None or _is_played(asked) else {"device": asked}
        return Tensor.to(x, dtype=dtype or x.dtype, copy=copy, **elsewhere)
    if _is_played(asked):
        return _ToDevice.apply(Tensor.to(x, dtype or x.dtype))
    return Tensor.to(_ToHost.apply(x), device=asked, dtype=dtype or x.dtype)


class _ToDevice(torch.autograd.Function):
    """A copy on the played device, through which gradients come back to the host."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return Played(x.detach().clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.inner


class _ToHost(torch.autograd.Function):
    """The inverse of ``_ToDevice``."""

    @staticmethod
    def forward(ctx: Any, x: Played) -> Tensor:
        return x.inner.detach().clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return Played(gradient)


def _each(action: Callable[[Any], Any], value: Any) -> Any:
    """``action`` on all that lists, tuples and dictionaries hold; torch's ``tree_map`` takes several times as long."""
    if isinstance(value, list | tuple):
        return type(value)([_each(action, one) for one in value])
    if isinstance(value, dict):
        return {key: _each(action, one) for key, one in value.items()}
    return action(value)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, Played) else value


def _wrapped(value: Any) -> Any:
    return Played(value) if isinstance(value, Tensor) and not isinstance(value, Played) else value


def _is_played(device: Any) -> bool:
    return device is not None and torch.device(device).type == Played.played.type


def _refuse_wide(x: Tensor, what: str) -> None:
    if Played.played.type == "mps" and x.dtype in WIDE:
        raise DeviceRefusal(f"MPS has no {x.dtype}: {what} of shape {tuple(x.shape)}")


def _refuse_mixing(func: Any, value: Any) -> None:
    if isinstance(value, Tensor) and not isinstance(value, Played) and value.dim() > 0:
        raise DeviceRefusal(f"{func}: expected all tensors on one device, found {Played.played} and cpu")


def _refuse_operator(func: Any) -> None:
    if Played.played.type == "mps" and not has_mps_kernel(func):
        raise DeviceRefusal(f"{func} is not implemented for the MPS device")
