"""ResNet backbones with YOLOv4's neck (spatial pyramid pooling, path aggregation) and three output scales."""

from __future__ import annotations

from yolo_v4.model.graph import INPUT, OUTPUTS, Graph, GraphBuilder, Layer

_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
_WIDTHS = (64, 128, 256, 512)
_NECK_WIDTHS = (256, 192, 128)
"""Coarse to fine."""
_MINIMUM_CHANNELS = 8


def build_graph(
    *, nlayers: int, width: float, anchors: tuple[int, int, int], classes: int, activation: str, neck_activation: str
) -> Graph:
    """The untrained network's graph.

    Args:
        nlayers: 10, 18 or 34.
        width: factor of every hidden layer's channels.
        anchors: number of anchors at strides 32, 16, 8.
        classes: number of classes.
        activation: of the backbone: relu, leaky_relu or mish.
        neck_activation: of the neck.

    """
    builder = GraphBuilder()
    levels = _backbone(builder, nlayers, width, activation)
    outputs = _neck(builder, levels, width, neck_activation)
    for name, source, count in zip(OUTPUTS, outputs, anchors, strict=True):
        builder.add(Layer(name, "conv", (source,), count * (5 + classes)))
    return builder.build()


def _scaled(channels: int, width: float) -> int:
    """Multiples of 8 keep vector units full."""
    return max(_MINIMUM_CHANNELS, round(channels * width / 8) * 8)


def _backbone(builder: GraphBuilder, nlayers: int, width: float, activation: str) -> list[str]:
    """Tensor names at strides 8, 16, 32."""
    top = builder.conv("conv1", INPUT, _scaled(64, width), kernel=3, stride=2, activation=activation, block=0)
    top = builder.pool("pool1", top, 3, 2, block=0)
    levels = []
    for stage, (blocks, channels) in enumerate(zip(_BLOCKS[nlayers], _WIDTHS, strict=True), start=1):
        for index in range(blocks):
            stride = 2 if stage > 1 and index == 0 else 1
            name = f"block_{stage}{chr(ord('a') + index)}"
            top = _residual(builder, name, top, _scaled(channels, width), stride, activation, stage)
        levels.append(top)
    return levels[1:]


def _residual(
    builder: GraphBuilder, name: str, source: str, channels: int, stride: int, activation: str, block: int
) -> str:
    first = builder.conv(
        f"{name}_conv_1", source, channels, kernel=3, stride=stride, activation=activation, block=block
    )
    second = builder.conv(f"{name}_conv_2", first, channels, kernel=3, activation="", block=block)
    shortcut = source
    if stride != 1 or builder.channels(source) != channels:
        shortcut = builder.conv(f"{name}_shortcut", source, channels, stride=stride, activation="", block=block)
    return builder.sum(f"{name}_out", second, shortcut, activation=activation, block=block)


def _neck(builder: GraphBuilder, levels: list[str], width: float, activation: str) -> tuple[str, str, str]:
    """The three tensors before the output layers, coarse to fine."""
    big, mid, small = (_scaled(channels, width) for channels in _NECK_WIDTHS)

    def conv(name: str, source: str, channels: int, kernel: int = 1, stride: int = 1) -> str:
        return builder.conv(name, source, channels, kernel=kernel, stride=stride, activation=activation)

    top = conv("spp_conv_1", levels[2], big)
    pools = [builder.pool(f"spp_pool_{kernel}", top, kernel) for kernel in (5, 9, 13)]
    top = conv("spp_conv_2", builder.join("spp_concat", top, *pools), big)

    up = builder.upsample("mid_upsample", conv("mid_reduce", top, mid))
    middle = builder.join("mid_concat", conv("mid_lateral", levels[1], mid), up)
    middle = conv("mid_conv_2", conv("mid_conv_1", middle, mid), mid, kernel=3)

    up = builder.upsample("sm_upsample", conv("sm_reduce", middle, small))
    fine = builder.join("sm_concat", conv("sm_lateral", levels[0], small), up)
    fine = conv("sm_conv_2", conv("sm_conv_1", fine, small), small * 2, kernel=3)

    down = conv("mid_down", fine, mid, kernel=3, stride=2)
    middle = conv("mid_conv_3", builder.join("mid_concat_2", down, middle), mid)
    middle = conv("mid_conv_4", middle, mid * 2, kernel=3)

    down = conv("big_down", middle, big, kernel=3, stride=2)
    top = conv("big_conv_1", builder.join("big_concat", down, top), big)
    return conv("big_conv_2", top, big, kernel=3), middle, fine
