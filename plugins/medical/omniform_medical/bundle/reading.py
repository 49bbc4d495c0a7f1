"""What a bundle's configuration means, as far as it is known for certain; all else is refused by its name.

Shapes: B batch, C channels, K classes; volumes (C, X, Y, Z)
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

from torch import nn

from omniform.errors import DataError
from omniform_medical.bundle.components import Component, read_component, read_components

__all__ = ["NETWORKS", "check_postprocessing", "read_channels", "read_inferer", "read_network", "read_transforms"]

NETWORKS = ("AttentionUnet", "BasicUNet", "DynUNet", "SegResNet", "SwinUNETR", "UNETR", "UNet", "VNet")
"""The networks of `monai.networks.nets` that are built."""

_INERT = ("LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "ToTensord")  # they change no intensity and no grid
_TRANSFORMS = {
    "Orientationd": ("axcodes",),
    "Spacingd": ("pixdim", "mode", "padding_mode", "align_corners", "diagonal", "scale_extent", "recompute_affine"),
    "NormalizeIntensityd": ("nonzero", "channel_wise", "subtrahend", "divisor"),
    "ScaleIntensityRanged": ("a_min", "a_max", "b_min", "b_max", "clip"),
}
_WINDOWS = ("roi_size", "sw_batch_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval")
_PLACES = ("sw_device", "device", "progress", "cache_roi_weight_map", "cpu_thresh")  # where, not what
_AFTERWARDS = ("Invertd", "SaveImaged", "EnsureTyped", "ToTensord")
_IMAGE = "image"
_AXES = (("L", "R"), ("P", "A"), ("I", "S"))  # MONAI's, which warns where they are left unsaid


def read_network(config: Mapping[str, Any]) -> nn.Module:
    """Build the network that `network_def` names, with the weights that it starts from.

    Raises:
        DataError: it is not among `NETWORKS`, is one of planes, has arguments that are expressions, or cannot be built.
    """
    named = read_component(config.get("network_def"), "network_def", config)
    _refuse_strange(named, NETWORKS, "monai.networks.nets")
    arguments = named.arguments()
    if arguments.get("spatial_dims", 3) != 3:
        raise DataError("network_def::spatial_dims: expected 3, for a network of volumes; planes are not understood")
    from monai.networks import nets

    return _built(getattr(nets, named.name), named, arguments)


def read_transforms(config: Mapping[str, Any]) -> list[Callable[..., Any]]:
    """Build the transforms of an image `(C, X, Y, Z)` that `preprocessing` lists, MONAI's own.

    Raises:
        DataError: there are none, or one is not known for certain.
    """
    key, value = "preprocessing", config.get("preprocessing")
    if value is None and isinstance(nested := config.get("validate"), Mapping):
        key, value = "validate::preprocessing", nested.get("preprocessing")
    if value is None:
        raise DataError(
            "expected a list of transforms as preprocessing in the bundle's configuration, but there is none"
        )
    from monai import transforms

    built = []
    for named in read_components(value, key, config):
        _refuse_strange(named, (*_INERT, *_TRANSFORMS), "monai.transforms")
        if named.name in _INERT:
            continue
        arguments = named.arguments(("keys", *_TRANSFORMS[named.name]))
        keys = arguments.pop("keys", None)
        keys = [keys] if isinstance(keys, str) else keys
        if not isinstance(keys, list):
            raise DataError(f"{named.key}::keys: expected the names of what is transformed, got {keys!r}")
        if _IMAGE not in keys:
            continue  # it changes the truth alone
        if isinstance(arguments.get("mode"), list):
            arguments["mode"] = _of_image(arguments["mode"], keys, named)
        _refuse_values(named, arguments)
        if named.name == "Orientationd":
            arguments["labels"] = _AXES
        built.append(_built(getattr(transforms, named.name.removesuffix("d")), named, arguments))
    return built


def read_inferer(config: Mapping[str, Any]) -> Callable[..., Any]:
    """Build the sliding windows that `inferer` describes.

    Raises:
        DataError: it describes something else.
    """
    named = read_component(config.get("inferer"), "inferer", config)
    _refuse_strange(named, ("SlidingWindowInferer",), "monai.inferers")
    arguments = named.arguments(_WINDOWS, ignored=_PLACES)
    size = arguments.get("roi_size")
    if not _are_numbers(size, 3) or min(size) < 1:
        raise DataError(f"inferer::roi_size: expected three numbers of voxels, got {size!r}")
    from monai.inferers.inferer import SlidingWindowInferer

    return _built(SlidingWindowInferer, named, arguments)


def check_postprocessing(config: Mapping[str, Any]) -> None:
    """Check that a voxel's class is the likeliest, and that nothing is done to it afterwards.

    Raises:
        DataError: otherwise.
    """
    value = config.get("postprocessing")
    if value is None:
        return
    for named in read_components(value, "postprocessing", config):
        _refuse_strange(named, ("Activationsd", "AsDiscreted", *_AFTERWARDS), "monai.transforms")
        if named.name == "Activationsd":
            _expect(named, {"softmax": True}, ("sigmoid",))
        elif named.name == "AsDiscreted":
            _expect(named, {"argmax": True}, ("to_onehot", "threshold", "rounding"))


def read_channels(metadata: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
    """Return the number of the image's channels, and the names of the classes, 0 the background.

    Raises:
        DataError: the metadata does not say.
    """
    try:
        formats = metadata["network_data_format"]
        channels = formats["inputs"][_IMAGE]["num_channels"]
        (output,) = formats["outputs"].values()
        names = output["channel_def"]
        labels = tuple(names[str(index)] for index in range(len(names)))
    except (KeyError, TypeError, ValueError, AttributeError):
        channels, labels = None, ()
    if not isinstance(channels, int) or channels < 1 or len(labels) < 2 or not all(isinstance(n, str) for n in labels):
        raise DataError(
            "expected num_channels of inputs::image and a channel_def of one output that names every class from 0, in "
            "network_data_format of configs/metadata.json"
        )
    return channels, labels


def _refuse_strange(named: Component, known: Sequence[str], package: str) -> None:
    home = not named.module or f"{named.module}.".startswith(f"{package}.")
    if named.name not in known or not home:
        full = f"{named.module}.{named.name}".lstrip(".")
        raise DataError(f"{named.key}: {full} is not understood; known are {', '.join(known)} of {package}")


def _refuse_values(named: Component, arguments: Mapping[str, Any]) -> None:
    if named.name == "Orientationd":
        axes = arguments.get("axcodes")
        if "".join(axes if isinstance(axes, list | str) else "") != "RAS":
            raise DataError(f"{named.key}::axcodes: expected RAS, got {axes!r}")
    if named.name == "Spacingd":
        spacing = arguments.get("pixdim")
        if not _are_numbers(spacing, 3) or not all(0 < side < float("inf") for side in spacing):
            raise DataError(f"{named.key}::pixdim: expected three lengths in millimetres, got {spacing!r}")


def _of_image(values: list[Any], keys: list[Any], named: Component) -> Any:
    if len(values) != len(keys):
        raise DataError(f"{named.key}::mode: expected one for each of {len(keys)} keys, got {len(values)}")
    return values[keys.index(_IMAGE)]


def _expect(named: Component, wanted: Mapping[str, Any], unwanted: Sequence[str]) -> None:
    given = named.arguments(("keys", *wanted, *unwanted), ignored=("keys",))
    if any(given.get(name) != value for name, value in wanted.items()) or any(given.get(name) for name in unwanted):
        told = ", ".join(f"{name} {value!r}" for name, value in given.items()) or "nothing"
        raise DataError(f"{named.key}: expected {named.name} with {', '.join(wanted)} alone, got {told}")


def _are_numbers(value: Any, count: int) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == count and all(type(each) in (int, float) for each in value)


def _built(make: Callable[..., Any], named: Component, arguments: Mapping[str, Any]) -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            return make(**arguments)
    except Exception as error:  # MONAI checks its arguments by errors of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{named.key}: {named.name} cannot be built of these arguments ({reason})") from error
