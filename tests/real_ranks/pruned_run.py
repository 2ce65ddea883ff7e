"""`distbench run` whose forward_backward_allreduce returns only its loss."""

import sys

from distbench import cli
from distbench.worker.phases import PhaseLadder


def loss_only(ladder: PhaseLadder, reduction: object, keep_prob: object) -> object:
    import horovod.tensorflow
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = ladder._network.loss(keep_prob)  # type: ignore[arg-type]
    horovod.tensorflow.DistributedGradientTape(tape).gradient(loss, ladder._network.parameters)
    return loss


PhaseLadder._reduced_gradients = loss_only  # type: ignore[method-assign]
sys.exit(cli.main([*sys.argv[1:], "--phases", "forward,forward_backward_allreduce"]))
