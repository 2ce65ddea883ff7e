"""PyTorch's VGG in plain torch.nn, data-parallel with DistributedDataParallel over Gloo."""

from __future__ import annotations

import copy
import datetime
import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy
import torch

from contenders.proof import Gradient
from contenders.shortest import shortest_s
from contenders.task import (
    COMPUTING,
    DROPOUT_RATE,
    IMAGE_STANDARD_DEVIATION,
    LEARNING_RATE,
    MOMENTUM,
    SEED,
    Contender,
    Task,
)
from distbench import vgg
from distbench.worker.network import CONVOLUTION_BIAS, FULLY_CONNECTED_BIAS

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
NEVER = datetime.timedelta(days=1)  # a stopped rank must not be taken for a lost one


def build(task: Task) -> Contender:
    """Tries layouts and thread counts, and takes the fastest for each phase."""
    rank = int(os.environ.get("RANK", "0"))
    if task.ranks > 1:
        torch.distributed.init_process_group("gloo", timeout=NEVER)
    torch.manual_seed(SEED)  # the same weights on every rank
    model = _model(task.network())
    torch.manual_seed(SEED + 1 + rank)  # dropout differs
    images = torch.randn(task.batch_size, 3, *[task.network().image_size] * 2)
    images *= IMAGE_STANDARD_DEVIATION
    chosen, tried = _choose(model, images, task)
    trained = _laid_out(model, chosen["forward_backward"][0])
    ready = _laid_out(images, chosen["forward_backward"][0])
    inference = trained
    inference_images = ready
    if chosen["forward"][0] != chosen["forward_backward"][0]:
        inference = _laid_out(copy.deepcopy(trained), chosen["forward"][0])
        inference_images = _laid_out(images, chosen["forward"][0])
    steps = _Steps(trained, ready, task)
    phases: dict[str, Callable[[], Any]] = {
        **steps.by_name(),
        "forward": lambda: _forward(inference, inference_images),
    }

    def before_block(phase: str) -> None:
        trained.train(phase != "forward")
        if phase == "forward":
            inference.eval()
        torch.set_num_threads(chosen.get(phase, chosen["forward_backward"])[1])

    return Contender(
        rank=rank,
        phases={name: phases[name] for name in task.training_phases},
        before_block=before_block,
        gradients=lambda: _described(phases["forward_backward"]()),
        reduced_sum=lambda: _absolute_sum(phases["forward_backward_allreduce"]()),
        close=torch.distributed.destroy_process_group if task.ranks > 1 else lambda: None,
        facts={
            "torch": torch.__version__,
            "best layout and threads": {
                name: f"{layout} {threads}" for name, (layout, threads) in chosen.items()
            },
            "of": tried,
            "data-parallel": "DistributedDataParallel over Gloo" if task.ranks > 1 else "no",
        },
    )


def _model(network: vgg.Vgg) -> Any:
    layers: list[Any] = []
    for layer in network.layers:
        layers += _layers(layer)
    return torch.nn.Sequential(*layers)


def _layers(layer: vgg.Layer) -> list[Any]:
    nn = torch.nn
    if isinstance(layer, vgg.MaxPool):
        return [nn.MaxPool2d(2)]
    if isinstance(layer, vgg.Convolution):
        side = layer.kernel_side
        convolution = nn.Conv2d(layer.inputs, layer.outputs, side, padding=side // 2)
        return [_initialised(convolution, CONVOLUTION_BIAS), nn.ReLU(inplace=True)]
    if isinstance(layer, vgg.FullyConnected):
        linear = _initialised(nn.Linear(layer.inputs, layer.outputs), FULLY_CONNECTED_BIAS)
        flatten = [nn.Flatten()] if layer.name == "fc6" else []
        relu = [nn.ReLU(inplace=True)] if layer.relu else []
        return [*flatten, linear, *relu, *([nn.Dropout(DROPOUT_RATE)] if layer.dropout else [])]
    raise ValueError(f"no layer of torch.nn stands for {layer.name}")


def _initialised(module: Any, bias: float) -> Any:
    """As distbench does it: PyTorch's own start would let the activations vanish."""
    torch.nn.init.xavier_uniform_(module.weight)
    torch.nn.init.constant_(module.bias, bias)
    return module


def _laid_out(thing: Any, layout: str) -> Any:
    return thing.to(memory_format=LAYOUTS[layout])


def _forward(model: Any, images: Any) -> Any:
    with torch.inference_mode():
        return torch.softmax(model(images), dim=1).argmax(dim=1)


def _l2_loss(outputs: Any) -> Any:
    return outputs.square().sum() / 2


def _forward_backward(model: Any, images: Any) -> Any:
    model.zero_grad(set_to_none=True)
    _l2_loss(model(images)).backward()
    return [parameter.grad for parameter in model.parameters()]


class _Steps:
    """Training's phases; those without communication run on the bare model."""

    def __init__(self, model: Any, images: Any, task: Task) -> None:
        self._task, self._model, self._images = task, model, images
        self._parallel = model
        if task.ranks > 1:
            self._parallel = torch.nn.parallel.DistributedDataParallel(
                model, gradient_as_bucket_view=True
            )
        self._optimizer = torch.optim.SGD(
            model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, fused=True
        )

    def by_name(self) -> dict[str, Callable[[], Any]]:
        return {
            "forward_backward": self._forward_backward,
            "forward_backward_allreduce": lambda: _forward_backward(self._parallel, self._images),
            "train_step": self._train_step,
        }

    def _forward_backward(self) -> Any:
        if self._task.ranks == 1:
            return _forward_backward(self._model, self._images)
        with self._parallel.no_sync():
            return _forward_backward(self._parallel, self._images)

    def _train_step(self) -> Any:
        gradients = _forward_backward(self._parallel, self._images)
        self._optimizer.step()
        return gradients


def _choose(
    model: Any, images: Any, task: Task
) -> tuple[dict[str, tuple[str, int]], dict[str, dict[str, str]]]:
    """The fastest layout and thread count of each computing phase, and the seconds of all.

    All ranks choose alike.
    """
    told: dict[str, dict[str, str]] = {}
    cores = len(os.sched_getaffinity(0))
    settings = list(itertools.product(LAYOUTS, sorted({task.threads, cores})))
    seconds: dict[str, list[float]] = {phase: [] for phase in COMPUTING}
    for layout, threads in settings:
        torch.set_num_threads(threads)
        model, images = _laid_out(model, layout), _laid_out(images, layout)
        for phase, call in ((COMPUTING[0], _forward), (COMPUTING[1], _forward_backward)):
            model.train(phase != "forward")
            seconds[phase].append(shortest_s(functools.partial(call, model, images), lambda: None))
    model.zero_grad(set_to_none=True)
    chosen = {}
    for phase, own in seconds.items():
        total = torch.tensor(own, dtype=torch.float64)
        if task.ranks > 1:
            torch.distributed.all_reduce(total)
            total /= task.ranks
        chosen[phase] = settings[int(total.argmin())]
        tried = {f"{layout} {threads}": one for (layout, threads), one in zip(settings, total)}
        told[phase] = {name: f"{float(one):.3g} s" for name, one in tried.items()}
    return chosen, told


def _described(gradients: list[Any]) -> list[Gradient | None]:
    return [
        None
        if one is None
        else Gradient(
            _shape(tuple(one.shape)),
            bool(torch.isfinite(one).all()),
            _absolute_sum([one]),
        )
        for one in gradients
    ]


def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """As TensorFlow orders it: [window, inputs, outputs] instead of [outputs, inputs, window]."""
    outputs, *rest = shape
    return (*rest[1:], *rest[:1], outputs)


def _absolute_sum(gradients: list[Any]) -> float:
    return sum(float(numpy.abs(one.detach().numpy()).sum(dtype=numpy.float64)) for one in gradients)
