"""The optimiser, and the average of the weights."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from config import Config
from diffusion.text2sign import Text2Sign
from methods.training.distributed import from_parts, like, own_part


class Ema:
    """An exponential moving average of the trainable parameters, float32, on the host or beside the model.

    Of a sharded model it is an average of this process's parts. Without decay there is none: ``average`` is empty, and
    the model stands for it.
    """

    def __init__(self, model: nn.Module, device: torch.device, *, decay: float) -> None:
        trainable = [(name, own_part(p)) for name, p in model.named_parameters() if p.requires_grad and decay > 0]
        self.average = {name: p.to(device, copy=True) for name, p in trainable}

    @torch.no_grad()
    def update(self, model: nn.Module, decay: float) -> None:
        if not self.average:
            return
        parameters = dict(model.named_parameters())
        current = [own_part(parameters[name]).to(own.device) for name, own in self.average.items()]
        torch._foreach_lerp_(list(self.average.values()), current, 1.0 - decay)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """The model with averaged weights, for previews; its own come back afterwards, whatever happens.

        Meanwhile they wait in the average's place: no more than one tensor is there twice.
        """
        self._swap(model)
        try:
            yield
        finally:
            self._swap(model)

    @torch.no_grad()
    def _swap(self, model: nn.Module) -> None:
        parameters = dict(model.named_parameters())
        for name, average in self.average.items():
            own = own_part(parameters[name])
            waiting = own.to(average.device, copy=True)
            own.copy_(average)
            average.copy_(waiting)

    def state(self, model: nn.Module) -> dict[str, Tensor]:
        """The average of each parameter, sharded where the model is."""
        parameters = dict(model.named_parameters())
        return {name: from_parts(average, parameters[name]) for name, average in self.average.items()}

    def restore(self, model: nn.Module, stored: dict[str, Tensor]) -> None:
        """The inverse of ``state``, from whole tensors; where none are ``stored`` it goes on from the model's own."""
        parameters = dict(model.named_parameters())
        for name, average in self.average.items() if stored else ():
            average.copy_(own_part(like(stored[name], parameters[name])))


class AdamW(torch.optim.AdamW):
    """torch's own, without the decorators of its methods: they import torch's compiler, a good part of a start.

    They keep ``torch.compile`` out of what they decorate, and this project never compiles; the numbers are the same.
    """

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


def make_optimizer(model: Text2Sign, config: Config) -> AdamW:
    """AdamW (Loshchilov & Hutter 2019); weight decay on matrices only, never on biases and norms."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() >= 2], "weight_decay": config.WEIGHT_DECAY},
        {"params": [p for p in trainable if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (config.ADAM_BETA1, config.ADAM_BETA2)
    return AdamW(groups, lr=config.LEARNING_RATE, betas=betas, fused=True)
