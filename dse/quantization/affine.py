"""8-bit affine quantization: `x ~ scale * (code - zero_point)`.

Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", CVPR 2018.
Rounding and clamping are those of `torch.fake_quantize_per_tensor_affine`. Names follow torchao.
"""

from dataclasses import dataclass

import torch

from dse.errors import ConfigError, unknown_name


@dataclass(frozen=True)
class Scheme:
    """How operands become codes.

    Attributes:
        name: "unsigned-affine" (uint8, zero codes), "unsigned-centered" (the same, but that of weights is 128, in the
            middle of their range) or "signed-symmetric" (int8, zero code 0).
        dtype: `torch.uint8` or `torch.int8`, both operands.
        is_symmetric: whether the zero code is fixed at 0.
        centers_weights: whether that of weights is fixed at 128: codes less zero code then fit int8.
    """

    name: str
    dtype: torch.dtype
    is_symmetric: bool
    centers_weights: bool = False


SCHEMES = {
    "unsigned-affine": Scheme("unsigned-affine", torch.uint8, False),
    "unsigned-centered": Scheme("unsigned-centered", torch.uint8, False, centers_weights=True),
    "signed-symmetric": Scheme("signed-symmetric", torch.int8, True),
}

CENTER = 128
"""Zero code of centered weights."""


def scheme_for(is_signed: bool, name: str = "auto") -> Scheme:
    """The scheme called `name`; "auto" is "signed-symmetric" or "unsigned-affine".

    Raises:
        ConfigError: unknown name, or a scheme whose codes the multipliers do not take.
    """
    if name == "auto":
        return SCHEMES["signed-symmetric" if is_signed else "unsigned-affine"]
    if name not in SCHEMES:
        raise ConfigError(unknown_name("quantization scheme", name, ["auto", *SCHEMES]))
    if (SCHEMES[name].dtype == torch.int8) != is_signed:
        signedness = "signed" if is_signed else "unsigned"
        raise ConfigError(
            f"scheme {name!r} does not fit {signedness} multipliers: use 'auto', or multipliers of the other "
            "signedness (--signed, [library] signed)"
        )
    return SCHEMES[name]


def choose_qparams_affine(
    low: torch.Tensor, high: torch.Tensor, scheme: Scheme
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero code that cover `[low, high]` and hold 0 exactly.

    Args:
        low, high: float `[...]`, finite, `low <= high`; widened to contain 0.
        scheme: of the codes.

    Returns:
        `scale` float32 `[...]`, positive (1 for an all-zero range), and `zero_point` int64 `[...]`.
    """
    low, high = low.to(torch.float64).clamp(max=0), high.to(torch.float64).clamp(min=0)
    smallest, largest = torch.iinfo(scheme.dtype).min, torch.iinfo(scheme.dtype).max
    span = torch.maximum(-low, high) / largest if scheme.is_symmetric else (high - low) / (largest - smallest)
    # float32's smallest normal number keeps 1/scale finite
    scale = torch.where(span < torch.finfo(torch.float32).tiny, 1.0, span).to(torch.float32)
    if scheme.is_symmetric:
        return scale, torch.zeros_like(scale, dtype=torch.int64)
    zero_point = (smallest - low / scale.to(torch.float64)).round().clamp(smallest, largest)
    return scale, zero_point.to(torch.int64)


def choose_weight_qparams(low: torch.Tensor, high: torch.Tensor, scheme: Scheme) -> tuple[torch.Tensor, torch.Tensor]:
    """`choose_qparams_affine` for weights, which some schemes treat in another way than activations."""
    if not scheme.centers_weights:
        return choose_qparams_affine(low, high, scheme)
    scale, zero_point = choose_qparams_affine(low, high, SCHEMES["signed-symmetric"])
    return scale, zero_point + CENTER


def quantize_affine(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Codes of `x`, shape of `x`, type `dtype`; NaN becomes an arbitrary code.

    Args:
        x: float32.
        scale: float32 and `zero_point`: integers, both broadcast against `x`.
        dtype: `torch.uint8` or `torch.int8`.
    """
    info = torch.iinfo(dtype)
    return x.mul(scale.reciprocal()).round_().add_(zero_point).clamp_(info.min, info.max).to(dtype)


def dequantize_affine(codes: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    """`scale * (codes - zero_point)`, float32."""
    return (codes.to(torch.float32) - zero_point) * scale
