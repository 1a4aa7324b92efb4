"""SyncNet: embeds 0.2 s of lip motion and of audio; embeddings are close if both are in sync.

Chung and Zisserman 2016, "Out of time: automated lip sync in the wild". Sizes and names are those of the weights
`syncnet_v2.model` of the Visual Geometry Group, Oxford.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from joyvasa.networks.config import NetworkConfig, size_error

WINDOW_FRAMES = 5  # frames per embedding
LAYERS = 6  # convolutions of each branch


@dataclass(frozen=True, kw_only=True)
class SyncNetConfig(NetworkConfig):
    """Sizes; the defaults are those of the published weights.

    Raises:
        ConfigError: `bad_network_size`, also if a list of channels does not have `LAYERS` entries.
    """

    lip_channels: tuple[int, ...] = (96, 256, 256, 256, 256, 512)  # channels of each convolution
    sound_channels: tuple[int, ...] = (64, 192, 384, 256, 256, 512)
    hidden: int = 512
    embedding: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lip_channels", "sound_channels"):
            if (length := len(getattr(self, name))) != LAYERS:
                raise size_error(self, name, f"{length} numbers", f"{LAYERS}, one for each convolution")


class SyncNet(nn.Module):
    """Embedding of lip motion and audio."""

    def __init__(self, config: SyncNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SyncNetConfig()
        self.netcnnaud = _sound_layers(config.sound_channels)
        self.netfcaud = _head(config.sound_channels[-1], config)
        self.netfclip = _head(config.lip_channels[-1], config)
        self.netcnnlip = _lip_layers(config.lip_channels)

    def embed_lips(self, frames: Tensor) -> Tensor:
        """Embed every five consecutive frames; embedding i belongs to frames i to i + 4, shape (batch, n - 4, 1024).

        Args:
            frames: BGR face crops in [0, 255], cropped as in the protocol, shape (batch, 3, n, 224, 224), n at least 5.
        """
        x = self.netcnnlip(frames)  # (B, 512, n - 4, 1, 1)
        x = x.flatten(2).transpose(1, 2)  # (B, n - 4, 512)
        return self.netfclip(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def embed_sound(self, coefficients: Tensor) -> Tensor:
        """Embed 0.2 seconds of sound, shape (batch, 1024).

        Args:
            coefficients: coefficients of `joyvasa.metrics.support.sound_windows`, shape (batch, 1, 13, 20).
        """
        return self.netfcaud(self.netcnnaud(coefficients).flatten(1))


def _sound_layers(channels: tuple[int, ...]) -> nn.Sequential:
    widths = (1, *channels)

    def block(index: int, kernel: int | tuple[int, int] = 3, padding: int = 1) -> list[nn.Module]:
        convolution = nn.Conv2d(widths[index], widths[index + 1], kernel, padding=padding)
        return [convolution, nn.BatchNorm2d(widths[index + 1]), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *block(0),  # (B, 64, 13, 20)
        nn.MaxPool2d(1, stride=1),  # identity, counted in the names of the published weights
        *block(1),
        nn.MaxPool2d(3, stride=(1, 2)),  # (B, 192, 11, 9)
        *block(2),
        *block(3),
        *block(4),
        nn.MaxPool2d(3, stride=2),  # (B, 256, 5, 4)
        *block(5, kernel=(5, 4), padding=0),  # (B, 512, 1, 1)
    )


def _lip_layers(channels: tuple[int, ...]) -> nn.Sequential:
    widths = (3, *channels)

    def block(index: int, kernel: int = 3, *, frames: int = 1, stride: int = 1, padding: int = 1) -> list[nn.Module]:
        convolution = nn.Conv3d(
            widths[index],
            widths[index + 1],
            (frames, kernel, kernel),
            stride=(1, stride, stride),
            padding=(0, padding, padding),
        )
        return [convolution, nn.BatchNorm3d(widths[index + 1]), nn.ReLU(inplace=True)]

    def pool(padding: int = 0) -> nn.MaxPool3d:
        return nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, padding, padding))

    return nn.Sequential(
        *block(0, 7, frames=WINDOW_FRAMES, stride=2, padding=0),  # (B, 96, n - 4, 109, 109)
        pool(),  # 54 x 54
        *block(1, 5, stride=2),  # 26 x 26
        pool(padding=1),  # 13 x 13
        *block(2),
        *block(3),
        *block(4),
        pool(),  # 6 x 6
        *block(5, 6, padding=0),  # (B, 512, n - 4, 1, 1)
    )


def _head(inputs: int, config: SyncNetConfig) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, config.hidden),
        nn.BatchNorm1d(config.hidden),
        nn.ReLU(inplace=True),
        nn.Linear(config.hidden, config.embedding),
    )
