"""Every 3×3 convolution of VGG-D by Winograd's algorithm beside TensorFlow's own, alternately.

Forward, and forward with both gradients. What decides which layers `--convolution winograd` takes.

    python benchmarks/winograd_layers.py [--rounds 10] [--batch-size 8] [--threads 2]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from interleaved import elapsed, ratio, save, time_rounds
from one_process import start

from distbench import vgg, winograd_layers
from distbench.worker import winograd

WAYS = ("library", "winograd")


def main() -> None:
    arguments = start(__doc__, batch_size=8)
    images = arguments.batch_size
    lines = [
        f"VGG-D, batch {images}, {arguments.threads} threads; library ÷ winograd, 95 % interval, and "
        "the norm of the difference ÷ that of the library's (outputs, input and kernel gradient)"
    ]
    document = {}
    for layer in _layers():
        calls, errors = _contenders(layer, images)
        times = time_rounds(calls, arguments.rounds)
        found = {
            phase: ratio(times, f"library {phase}", f"winograd {phase}")
            for phase in ("forward", "forward and gradients")
        }
        document[layer.name] = {"ratios": found, "errors": errors, "seconds": times}
        chosen = "taken" if winograd_layers.is_suited(layer, images) else "left to the library"
        told = "; ".join(
            f"{phase} {one['median']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
            for phase, one in found.items()
        )
        worst = ", ".join(f"{error:.1e}" for error in errors)
        shape = f"{layer.output_side}×{layer.output_side}, {layer.inputs} to {layer.outputs}"
        lines.append(f"{layer.name} ({shape}; {chosen}): {told}; {worst}")
    save(f"winograd_layers_batch_{images}", lines, document)


def _layers() -> list[vgg.Convolution]:
    """One of each shape."""
    layers = (layer for layer in vgg.build("D").layers if isinstance(layer, vgg.Convolution))
    shapes = {
        (layer.kernel_shape, layer.output_side): layer for layer in layers if layer.inputs > 3
    }
    return list(shapes.values())


def _contenders(
    layer: vgg.Convolution, images: int
) -> tuple[dict[str, Callable[[], float]], list[float]]:
    import tensorflow as tf

    side = layer.output_side
    inputs = tf.Variable(tf.random.normal([images, side, side, layer.inputs]))
    kernel = tf.Variable(tf.random.normal(layer.kernel_shape) * 0.02)
    gradient = tf.random.normal([images, side, side, layer.outputs])
    convolve = {"library": _of_library, "winograd": winograd.convolve}
    calls, results = {}, {}
    for way in WAYS:
        forward = tf.function(_forward(convolve[way], inputs, kernel))
        both = tf.function(_with_gradients(convolve[way], inputs, kernel, gradient))
        results[way] = both()
        calls[f"{way} forward"] = lambda call=forward: elapsed(call)
        calls[f"{way} forward and gradients"] = lambda call=both: elapsed(call)
    errors = [
        float(tf.norm(one - other) / tf.norm(other))
        for one, other in zip(results["winograd"], results["library"])
    ]
    return calls, errors


def _of_library(images: Any, kernel: Any) -> Any:
    import tensorflow as tf

    return tf.nn.conv2d(images, kernel, strides=1, padding="SAME")


def _forward(convolve: Any, inputs: Any, kernel: Any) -> Callable[[], Any]:
    return lambda: convolve(inputs.read_value(), kernel.read_value())


def _with_gradients(convolve: Any, inputs: Any, kernel: Any, gradient: Any) -> Callable[[], Any]:
    def run() -> list[Any]:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            images, weights = inputs.read_value(), kernel.read_value()
            tape.watch([images, weights])
            outputs = convolve(images, weights)
        return [outputs, *tape.gradient(outputs, [images, weights], gradient)]

    return run


if __name__ == "__main__":
    main()
