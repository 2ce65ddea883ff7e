"""What each kind of layer of a VGG reaches of a large matrix product's rate, and what could be won there.

A training step is, for each layer, its product, the gradient of its input and the gradient of its
kernel. Each is timed alone, with random data and with the threads that a rank would use, in rounds with
a matrix product between them; a layer's rate is held against the product's of the same round. FLOPs are
those of `vgg.py`, which counts products with the padding: a kernel that skips those can pass 100 %.

Beside TensorFlow's own gradients stand other ways to compute the same: an input's gradient as a forward
convolution with the turned kernel, a kernel's gradient as nine matrix products of shifted images, or as
one of their patches. Their values are compared first.

    python benchmarks/layer_bounds.py [--config D] [--batch-size 8] [--threads 2] [--rounds 8]
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from interleaved import elapsed, ratio, ratio_text, save, time_rounds

from distbench import vgg
from distbench.worker.rank import prepare_environment

PRODUCT_SIDE = 4096
PRODUCT = "matrix product"
MOST_PATCH_BYTES = 1e9
TOLERANCE = 1e-2  # of the largest value; sums of a hundred thousand products in another order


class Part(NamedTuple):
    """One of a layer's three products, computed in one way."""

    layer: str
    what: str
    way: str
    count: int  # layers of this shape in the network
    flops: float
    run: Callable[[], Any]

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.layer}, {self.what}, {self.way}"


def main() -> None:
    arguments = _arguments()
    prepare_environment(show_log=False, is_study=False)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    network = vgg.build(arguments.config)
    parts = list(_parts(network, arguments.batch_size))
    product = _matrix_product()
    contenders = {PRODUCT: lambda: elapsed(product)}
    contenders |= {part.name: lambda part=part: elapsed(part.run) for part in parts}
    times = time_rounds(contenders, arguments.rounds)
    _save(arguments, network, parts, times)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="D", choices=vgg.CONFIGURATIONS)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    return parser.parse_args()


def _matrix_product() -> Callable[[], Any]:
    import tensorflow as tf

    left, right = (tf.random.normal([PRODUCT_SIDE, PRODUCT_SIDE]) for _ in range(2))
    return _compiled(lambda: tf.matmul(left, right))


def _compiled(function: Callable[[], Any]) -> Callable[[], Any]:
    import tensorflow as tf

    compiled: Callable[[], Any] = tf.function(function).get_concrete_function()
    return compiled


def _parts(network: vgg.Vgg, batch: int) -> Iterator[Part]:
    shapes = Counter(_shape(layer) for layer in network.weight_layers)
    for (side, kernel_side, inputs, outputs), count in shapes.items():
        if side:
            convolution = (side, kernel_side, inputs, outputs)
            yield from _of_convolution(convolution, count, batch, inputs != 3)
        else:
            yield from _of_fully_connected(inputs, outputs, count, batch)


def _shape(layer: Any) -> tuple[int, int, int, int]:
    """Side of the output (0 where it is no image), side of the kernel, inputs, outputs."""
    if isinstance(layer, vgg.Convolution):
        return layer.output_side, layer.kernel_side, layer.inputs, layer.outputs
    return 0, 0, layer.inputs, layer.outputs


def _of_convolution(
    shape: tuple[int, int, int, int], count: int, batch: int, has_input_gradient: bool
) -> Iterator[Part]:
    import tensorflow as tf

    side, kernel_side, inputs, outputs = shape
    flops = 2.0 * kernel_side**2 * inputs * outputs * side**2 * batch
    name = f"{side:3} {kernel_side}x{kernel_side} {inputs:3}->{outputs:3}"
    images = tf.random.normal([batch, side, side, inputs])
    kernel = tf.random.normal([kernel_side, kernel_side, inputs, outputs])
    errors = tf.random.normal([batch, side, side, outputs])
    same = {"strides": [1, 1, 1, 1], "padding": "SAME"}

    def input_gradient() -> Any:
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=images.shape, filter=kernel, out_backprop=errors, **same
        )

    def turned() -> Any:
        return tf.nn.conv2d(
            errors, tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2]), 1, "SAME"
        )

    def kernel_gradient() -> Any:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=images, filter_sizes=kernel.shape, out_backprop=errors, **same
        )

    ways = {
        "forward": {"own": lambda: tf.nn.conv2d(images, kernel, 1, "SAME")},
        "kernel gradient": {
            "own": kernel_gradient,
            "shifted products": lambda: _by_shifts(images, errors, kernel_side),
        },
    }
    if side**2 * kernel_side**2 * inputs * batch * 4 <= MOST_PATCH_BYTES:
        ways["kernel gradient"]["patches"] = lambda: _by_patches(images, errors, kernel_side)
    if has_input_gradient:
        ways["input gradient"] = {"own": input_gradient, "turned kernel": turned}
    yield from _proven(name, count, flops, ways)


def _by_shifts(images: Any, errors: Any, kernel_side: int) -> Any:
    """Element (i, j) of a kernel's gradient: the images shifted by it, times the errors."""
    import tensorflow as tf

    side, inputs, outputs = images.shape[1], images.shape[3], errors.shape[3]
    edge = kernel_side // 2
    padded = tf.pad(images, [[0, 0], [edge, edge], [edge, edge], [0, 0]])
    flat = tf.reshape(errors, [-1, outputs])
    products = [
        tf.matmul(
            tf.reshape(padded[:, row : row + side, column : column + side, :], [-1, inputs]),
            flat,
            transpose_a=True,
        )
        for row in range(kernel_side)
        for column in range(kernel_side)
    ]
    return tf.reshape(tf.stack(products), [kernel_side, kernel_side, inputs, outputs])


def _by_patches(images: Any, errors: Any, kernel_side: int) -> Any:
    import tensorflow as tf

    inputs, outputs, window = images.shape[3], errors.shape[3], [1, kernel_side, kernel_side, 1]
    patches = tf.image.extract_patches(images, window, [1, 1, 1, 1], [1, 1, 1, 1], "SAME")
    flat = tf.reshape(patches, [-1, kernel_side**2 * inputs])
    found = tf.matmul(flat, tf.reshape(errors, [-1, outputs]), transpose_a=True)
    return tf.reshape(found, [kernel_side, kernel_side, inputs, outputs])


def _of_fully_connected(inputs: int, outputs: int, count: int, batch: int) -> Iterator[Part]:
    import tensorflow as tf

    activations, errors = tf.random.normal([batch, inputs]), tf.random.normal([batch, outputs])
    kernel = tf.random.normal([inputs, outputs])
    ways = {
        "forward": {"own": lambda: tf.matmul(activations, kernel)},
        "input gradient": {"own": lambda: tf.matmul(errors, kernel, transpose_b=True)},
        "kernel gradient": {"own": lambda: tf.matmul(activations, errors, transpose_a=True)},
    }
    yield from _proven(f"{inputs}->{outputs}", count, 2.0 * inputs * outputs * batch, ways)


def _proven(
    layer: str, count: int, flops: float, ways: dict[str, dict[str, Callable[[], Any]]]
) -> Iterator[Part]:
    """The parts, once every way of each has given the same values."""
    import tensorflow as tf

    for what, by_way in ways.items():
        wanted = by_way["own"]()
        for way, function in by_way.items():
            error = tf.reduce_max(tf.abs(function() - wanted)) / tf.reduce_max(tf.abs(wanted))
            assert float(error) < TOLERANCE, f"{layer}, {what}, {way}: off by {float(error):g}"
            yield Part(layer, what, way, count, flops, _compiled(function))


def _save(
    arguments: argparse.Namespace,
    network: vgg.Vgg,
    parts: list[Part],
    times: dict[str, list[float]],
) -> None:
    product_flops = 2.0 * PRODUCT_SIDE**3
    lines = [
        f"VGG-{arguments.config}, 224x224, batch {arguments.batch_size}, {arguments.threads} "
        f"threads, 1 process, {arguments.rounds} rounds; % of the matrix product's rate"
    ]
    found = {}
    for part in parts:
        scaled = {
            "layer": [part.flops / product_flops / one for one in times[part.name]],
            PRODUCT: [1 / one for one in times[PRODUCT]],
        }
        found[part.name] = rate = ratio(scaled, "layer", PRODUCT)
        milliseconds = 1e3 * sorted(times[part.name])[len(times[part.name]) // 2]
        lines.append(
            f"{part.count} x {part.name:44} {milliseconds:8.1f} ms  {100 * rate['median']:5.1f} % "
            f"({100 * rate['low']:.1f} to {100 * rate['high']:.1f})"
        )
    sums = _sums(network, parts, times, arguments.batch_size)
    lines += [f"{name}: {ratio_text(value)}" for name, value in sums.items()]
    document = {"rates": found, "sums": sums, "seconds": times}
    save(f"layer_bounds_{arguments.config}", lines, document)


def _sums(
    network: vgg.Vgg, parts: list[Part], times: dict[str, list[float]], batch: int
) -> dict[str, dict[str, float]]:
    """The layers' times put together, round by round: the bounds of a whole step."""
    rounds = range(len(times[PRODUCT]))
    product_flops = 2.0 * PRODUCT_SIDE**3
    totals: dict[str, list[float]] = {}
    for name, flops, whats in (
        ("forward", network.forward_flops, ("forward",)),
        ("forward_backward", network.forward_backward_flops, None),
    ):
        own = [part for part in parts if whats is None or part.what in whats]
        totals[f"{name} at the product's rate"] = [
            times[PRODUCT][index] * flops * batch / product_flops for index in rounds
        ]
        totals[f"{name}, own ways"] = [
            sum(part.count * times[part.name][index] for part in own if part.way == "own")
            for index in rounds
        ]
        totals[f"{name}, best ways"] = [_best(own, times, index) for index in rounds]
    pairs = [
        (f"{name}, {below}", f"{name}, {above}")
        for name in ("forward", "forward_backward")
        for above, below in (("own ways", "best ways"),)
    ] + [
        (f"{name} at the product's rate", f"{name}, own ways")
        for name in ("forward", "forward_backward")
    ]
    return {f"{one} / {other}": ratio(totals, one, other) for one, other in pairs}


def _best(parts: list[Part], times: dict[str, list[float]], index: int) -> float:
    """With the way of each part that is the fastest by its median over all rounds."""
    medians = {part.name: sorted(times[part.name])[len(times[part.name]) // 2] for part in parts}
    best: dict[tuple[str, str], Part] = {}
    for part in parts:
        key = (part.layer, part.what)
        if key not in best or medians[part.name] < medians[best[key].name]:
            best[key] = part
    return sum(part.count * times[part.name][index] for part in best.values())


if __name__ == "__main__":
    main()
