from __future__ import annotations

import pytest

from distbench import vgg
from distbench.winograd_layers import is_suited, share_of_macs, suited_layers, tiles_across


def test_tiles_may_stand_over() -> None:
    assert [tiles_across(side) for side in (224, 14, 4, 1)] == [56, 4, 1, 1]


@pytest.mark.parametrize(
    ("layer", "images", "suited"),
    [
        (vgg.Convolution("few channels", 3, 64, 64, 224), 32, False),
        (vgg.Convolution("enough", 3, 64, 128, 112), 1, True),
        (vgg.Convolution("no window", 1, 512, 512, 28), 32, False),
        (vgg.Convolution("few tiles", 3, 512, 512, 14), 2, False),
        (vgg.Convolution("enough tiles", 3, 512, 512, 14), 3, True),
    ],
)
def test_channels_window_and_tiles_decide(
    layer: vgg.Convolution, images: int, suited: bool
) -> None:
    assert is_suited(layer, images) is suited


def test_the_layers_of_vgg() -> None:
    names = [layer.name for layer in suited_layers(vgg.build("C"), 8)]
    assert names[:3] == ["conv2_1", "conv2_2", "conv3_1"]
    assert "conv3_3" not in names  # a 1×1
    assert [layer.name for layer in suited_layers(vgg.build("D"), 1)][-1] == "conv4_3"
    assert suited_layers(vgg.build("D", 32, 10, 128, 0.25), 2) == []


def test_what_is_saved() -> None:
    """By hand for conv2_1 alone: 36 products for each tile of 16 pixels instead of 144."""
    network = vgg.build("A", 32, 10, 64)
    assert [layer.name for layer in suited_layers(network, 4)] == ["conv2_1"]
    direct = 3 * 3 * 64 * 128 * 16 * 16
    assert share_of_macs(network, 4) == pytest.approx(1 - 0.75 * direct / network.forward_macs)
    assert share_of_macs(network, 1) == 1.0
    # Tiles of 16 pixels over images of 14 are 65 % full: 2.94 times fewer there instead of 4.
    assert 0.25 < share_of_macs(vgg.build("D"), 8) < 0.45
