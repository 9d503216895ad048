"""Any network of one's own, found by its class path.

Letters: B batch, C channels, H and W image sides, D features.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.features.feature_network import Extractor, FeatureNetwork, hash_of
from arlab.features.weight_files import fit_weights, read_weights
from arlab.ranges import require

_MOST_CHANNELS = 1024
_LARGEST_SIDE = 4096


class ModuleNetwork(FeatureNetwork):
    """An ``nn.Module`` that takes images (B, C, H, W) in [-1, 1] and gives features (B, D) or (B, D, 1, 1).

    A perceptual distance by it compares that one vector: |u / |u| - v / |v||². Its class is imported when it is first
    used, from where Python finds it or from a plugin (``arlab_plugins.my_nets.MyNet``), and built without arguments.
    Without weights it is as its constructor leaves it at seed 0, and protocols call it untrained. What they give as
    its hash is of class path, the file the class is in, image size and weights.

    Args:
        module: the class, with the module it is in: my_package.nets.MyNet.
        weights: a file of its state dict, .safetensors or .pth; null: none, the network is untrained.
        channels: C; of a network for 3, gray images are repeated.
        image_size: side that images are resized to, bilinearly and smoothed where they shrink; null: as they are.

    Raises:
        ValueError: an option is out of range, or the class path is not one.
    """

    def __init__(
        self, *, module: str, weights: str | None = None, channels: int = 3, image_size: int | None = None
    ) -> None:
        if "." not in module or not all(word.isidentifier() for word in module.split(".")):
            raise ValueError(f"network.module: expected a class path as my_package.nets.MyNet, got {module!r}")
        require("network.channels", channels, at_least=1, at_most=_MOST_CHANNELS)
        if image_size is not None:
            require("network.image_size", image_size, at_least=1, at_most=_LARGEST_SIDE)
        self.module = module
        self.weights = weights
        self.channels = channels
        self.image_size = image_size

    def load(self) -> Extractor:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            network = _built(_class(self.module), self.module)
        if self.weights is not None:
            what = f"a state dict of {self.module}"
            given = read_weights(self.weights, "ModuleNetwork.weights", what)
            fit_weights(network, given, f"ModuleNetwork.weights: {self.weights}")
        name = self.module if self.weights is not None else f"{self.module} (untrained)"
        return _Extractor(name, self.channels, self.image_size, network)

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of its class path, its file, image size and weights: code that was changed gives other features."""
        told = f"{self.module} {_source(_class(self.module))} {self.image_size} {hash_of(self.extractor)}"
        return hashlib.sha256(told.encode()).hexdigest()


class _Extractor(Extractor):
    """A network whose last output is all that is known of it.

    Args:
        name: what protocols call it.
        channels: C.
        image_size: side that images are resized to; None: as they are.
        network: gives the features.
    """

    def __init__(self, name: str, channels: int, image_size: int | None, network: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.channels = channels
        self.image_size = image_size
        self.network = network

    def layers(self, image_BCHW: Tensor) -> list[Tensor]:
        return [self.features(image_BCHW)[:, :, None, None]]

    def features(self, image_BCHW: Tensor) -> Tensor:
        if self.image_size is not None:
            side = (self.image_size, self.image_size)
            image_BCHW = F.interpolate(image_BCHW, side, mode="bilinear", align_corners=False, antialias=True)
        shape = tuple(image_BCHW.shape)
        try:
            feature_BD: object = self.network(image_BCHW)
        except Exception as error:  # it is someone else's code
            raise ValueError(f"{self.name}: fails on images {shape}: {_line(error)}") from error
        if not isinstance(feature_BD, Tensor):
            raise ValueError(f"{self.name}: must give a tensor (B, D) of features, gave a {type(feature_BD).__name__}")
        if feature_BD.dim() == 4 and feature_BD.shape[2:] == (1, 1):
            feature_BD = feature_BD[:, :, 0, 0]
        if feature_BD.dim() != 2 or len(feature_BD) != shape[0] or not feature_BD.is_floating_point():
            got = f"{str(feature_BD.dtype).removeprefix('torch.')} {tuple(feature_BD.shape)}"
            raise ValueError(f"{self.name}: must give features (B, D) or (B, D, 1, 1) of images {shape}, gave {got}")
        return feature_BD


def _class(path: str) -> type[nn.Module]:
    """The class of a class path.

    Raises:
        ValueError: there is no such module or class, the module fails, or the class is no network.
    """
    module_name, _, name = path.rpartition(".")
    key = "ModuleNetwork.module"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{key}: no module is called {error.name!r}; install it, or name its file: --plugins nets.py and "
            "module=arlab_plugins.nets.MyNet"
        ) from error
    except (Exception, SystemExit) as error:  # importing runs someone else's code
        raise ValueError(f"{key}: importing {module_name} fails: {_line(error)}") from error
    found = getattr(module, name, None)
    if found is None:
        raise ValueError(f"{key}: {module_name} has no {name!r}")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"{key}: {path} is no torch.nn.Module class")
    return found


def _source(cls: type[nn.Module]) -> str:
    """A digest of the file a class is in; nothing where there is none."""
    try:
        return hashlib.sha256(Path(inspect.getfile(cls)).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return ""


def _built(cls: type[nn.Module], path: str) -> nn.Module:
    """The network, built without arguments.

    Raises:
        ValueError: it needs some, or its constructor fails.
    """
    key = "ModuleNetwork.module"
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise ValueError(
            f"{key}: {path} needs constructor arguments ({error}); name a class of yours that derives from it and "
            "gives them"
        ) from error
    try:
        return cls()
    except Exception as error:  # it is someone else's code
        raise ValueError(f"{key}: building {path} fails: {_line(error)}") from error


def _line(error: BaseException) -> str:
    """What an error of someone else's code says, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
