from __future__ import annotations

import pytest

from distbench import vgg

# reference numbers: parameters and forward MACs at 224x224 with 1000 classes, layers, tensors
FULL = {
    "A": (132_863_336, 7_609_090_048, 11, 22),
    "A-LRN": (132_863_336, 7_609_090_048, 11, 22),
    "B": (133_047_848, 11_308_466_176, 13, 26),
    "C": (133_638_952, 11_770_888_192, 16, 32),
    "D": (138_357_544, 15_470_264_320, 16, 32),
    "E": (143_667_240, 19_632_062_464, 19, 38),
}
SMALL_PARAMETERS = {
    "A": 611_434,
    "A-LRN": 611_434,
    "B": 623_002,
    "C": 660_186,
    "D": 955_098,
    "E": 1_287_194,
}


@pytest.mark.parametrize("configuration", vgg.CONFIGURATIONS)
def test_full_size_counts(configuration: str) -> None:
    network = vgg.build(configuration)
    parameters, macs, layers, tensors = FULL[configuration]
    assert network.parameter_count == parameters
    assert network.forward_macs == macs
    assert len(network.weight_layers) == layers
    assert network.tensor_count == tensors
    assert network.grad_bytes == 4 * parameters


@pytest.mark.parametrize(
    ("configuration", "mebibytes"),
    [("A", 34.8), ("A-LRN", 47.0), ("B", 53.2), ("C", 58.1), ("D", 58.1), ("E", 63.1)],
)
def test_activations(configuration: str, mebibytes: float) -> None:
    assert vgg.build(configuration).activation_bytes / 2**20 == pytest.approx(mebibytes, abs=0.06)


@pytest.mark.parametrize("configuration", vgg.CONFIGURATIONS)
def test_small_counts(configuration: str) -> None:
    network = vgg.build(configuration, 32, 10, fc_units=128, width_multiplier=0.25)
    assert network.parameter_count == SMALL_PARAMETERS[configuration]


def test_small_macs() -> None:
    assert vgg.build("A", 32, 10, 128, 0.25).forward_macs == 9_913_600
    assert vgg.build("D", 32, 10, 128, 0.25).forward_macs == 19_940_608


def test_flops_leave_out_the_gradient_of_the_images() -> None:
    network = vgg.build("D")
    first_convolution_macs = 3 * 3 * 3 * 64 * 224 * 224
    assert network.forward_flops == 2 * 15_470_264_320
    assert network.forward_backward_flops == 6 * 15_470_264_320 - 2 * first_convolution_macs
    assert network.forward_backward_flops / 1e9 == pytest.approx(92.65, abs=0.005)


def test_fully_connected_macs() -> None:
    fully_connected = [
        item for item in vgg.build("D").layers if isinstance(item, vgg.FullyConnected)
    ]
    assert sum(layer.macs for layer in fully_connected) == 123_633_664


def test_c_closes_its_last_blocks_with_1x1_convolutions() -> None:
    network = vgg.build("C")
    ones = [item.name for item in network.weight_layers if item.kernel_shape[:2] == (1, 1)]
    assert ones == ["conv3_3", "conv4_3", "conv5_3"]


def test_a_lrn_normalises_once_after_the_first_convolution() -> None:
    kinds = [type(layer).__name__ for layer in vgg.build("A-LRN").layers]
    assert kinds[:3] == ["Convolution", "LocalResponseNormalisation", "MaxPool"]
    assert kinds.count("LocalResponseNormalisation") == 1


@pytest.mark.parametrize(("head", "relu"), [("linear", False), ("relu", True)])
def test_head(head: str, relu: bool) -> None:
    last = vgg.build("D", head=head).layers[-1]
    assert isinstance(last, vgg.FullyConnected)
    assert last.relu is relu
