"""How a network computes: in which precision, in which layout, and fed from where.

Weights are float32 always, and so are their gradients: what is narrower lies between two casts. The
loss scale lies there too. Where gradients flow back into the narrow part they are multiplied by it,
and where they leave it, at each weight, it is taken off in float32, so that nobody outside sees it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from distbench.config import Config

DEFAULT_LOSS_SCALE = 1024.0
LOSS_SCALE_OP = "loss_scale"  # the constant in the graph that holds it


class Computing(NamedTuple):
    """The settings that one replica computes with; those of fc8 and of every run by default."""

    precision: str = "float32"
    loss_scale: float = 1.0
    layout: str = "NHWC"
    is_fed: bool = False  # each step gets its images from the host's memory
    convolution: str = "library"

    @classmethod
    def of(cls, config: Config) -> Computing:
        """As the configuration asks for it."""
        scale = 1.0
        if config.precision == "float16":
            scale = config.loss_scale or DEFAULT_LOSS_SCALE
        is_fed = config.input == "host"
        return cls(config.precision, scale, config.layout, is_fed, config.convolution)

    @property
    def is_narrow(self) -> bool:
        """Whether products are made of 16 bits."""
        return self.precision != "float32"

    def entered(self, images: Any) -> Any:
        """The images as the first layer takes them."""
        import tensorflow as tf

        return tf.cast(images, self.precision) if self.is_narrow else images

    def weight(self, variable: Any) -> Any:
        """A weight as its layer takes it; the gradient that comes back is float32, without the scale."""
        import tensorflow as tf

        if self.loss_scale == 1.0:
            return tf.cast(variable, self.precision) if self.is_narrow else variable

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def narrowed(value: Any) -> Any:
            def widened(gradient: Any) -> Any:
                return tf.cast(gradient, tf.float32) / self._scale(tf.float32)

            return tf.cast(value, self.precision), widened

        return narrowed(tf.convert_to_tensor(variable))

    def left(self, activations: Any) -> Any:
        """Activations in float32, as the head takes them; the scale is put on what flows back."""
        import tensorflow as tf

        if self.loss_scale == 1.0:
            return tf.cast(activations, tf.float32) if self.is_narrow else activations

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def widened(value: Any) -> Any:
            def narrowed(gradient: Any) -> Any:
                return tf.cast(gradient * self._scale(tf.float32), self.precision)

            return tf.cast(value, tf.float32), narrowed

        return widened(activations)

    def share(self, keep_prob: Any, activations: Any) -> Any:
        """What dropout leaves out, in the precision of `activations`."""
        import tensorflow as tf

        rate = 1.0 - keep_prob
        return tf.cast(rate, activations.dtype) if self.is_narrow and tf.is_tensor(rate) else rate

    def channels_last(self, activations: Any) -> Any:
        """Activations of a convolution as [batch, height, width, channels]."""
        import tensorflow as tf

        return tf.transpose(activations, [0, 2, 3, 1]) if self.layout == "NCHW" else activations

    def channels_back(self, activations: Any) -> Any:
        """The way back from `channels_last`."""
        import tensorflow as tf

        return tf.transpose(activations, [0, 3, 1, 2]) if self.layout == "NCHW" else activations

    def _scale(self, dtype: Any) -> Any:
        import tensorflow as tf

        return tf.constant(self.loss_scale, dtype, name=LOSS_SCALE_OP)


BY_DEFAULT = Computing()
