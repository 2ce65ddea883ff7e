"""distbench's forward and forward_backward beside Keras's VGG16, alternately in one process.

Both read the very same variables (with a copy each, where its 392 MiB of fc6 happen to lie in memory
makes a difference of up to 1 %), the same images, have the same loss and the same threads, and return
all gradients. distbench's forward_backward has dropout on, as in training; keras.applications has none.

    python benchmarks/against_keras.py [--rounds 20] [--batch-size 8] [--threads 2]
"""

from __future__ import annotations

from typing import Any

from interleaved import elapsed, ratio, ratio_text, save, time_rounds
from one_process import phases_of, start

from distbench import vgg
from distbench.worker.network import Network


def main() -> None:
    arguments = start(__doc__, batch_size=8)
    contenders = _contenders(arguments.batch_size)
    times = time_rounds(contenders, arguments.rounds)
    found = {
        "keras forward / distbench forward": ratio(times, "keras_forward", "forward"),
        "keras forward_backward / distbench forward_backward": ratio(
            times, "keras_forward_backward", "forward_backward"
        ),
        "distbench forward_backward / forward": ratio(times, "forward_backward", "forward"),
    }
    lines = [
        f"VGG-D, 224x224, batch {arguments.batch_size}, {arguments.threads} threads, 1 process"
    ]
    lines += [f"{name}: {ratio_text(value)}" for name, value in found.items()]
    save("against_keras", lines, {"ratios": found, "seconds": times})


def _contenders(batch_size: int) -> dict[str, Any]:
    import keras
    import tensorflow as tf

    network = Network(vgg.build("D"), batch_size, seed=0, rank=0)
    model = keras.applications.VGG16(weights=None, classifier_activation=None)
    model.set_weights([parameter.numpy() for parameter in network.parameters])
    network.parameters = variables = [variable.value for variable in model.trainable_variables]
    phases = phases_of(network, "forward", "forward_backward")

    @tf.function
    def keras_forward() -> Any:
        return tf.argmax(tf.nn.softmax(model(network.images, training=False)), axis=1)

    @tf.function
    def keras_forward_backward() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.nn.l2_loss(model(network.images, training=True))
        return tape.gradient(loss, variables)

    assert all(gradient is not None for gradient in keras_forward_backward())
    calls = {
        "forward": phases["forward"].run,
        "forward_backward": phases["forward_backward"].run,
        "keras_forward": keras_forward,
        "keras_forward_backward": keras_forward_backward,
    }
    return {name: lambda call=call: elapsed(call) for name, call in calls.items()}


if __name__ == "__main__":
    main()
