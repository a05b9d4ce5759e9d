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
        name: "unsigned-affine" (uint8, zero codes) or "signed-symmetric" (int8, zero code 0).
        dtype: `torch.uint8` or `torch.int8`, both operands.
        is_symmetric: whether the zero code is fixed at 0.
    """

    name: str
    dtype: torch.dtype
    is_symmetric: bool


SCHEMES = {
    "unsigned-affine": Scheme("unsigned-affine", torch.uint8, False),
    "signed-symmetric": Scheme("signed-symmetric", torch.int8, True),
}


def scheme_for(is_signed: bool, name: str = "auto") -> Scheme:
    """The scheme called `name`; "auto" is the one that fits multipliers of this signedness.

    Raises:
        ConfigError: unknown name, or a scheme whose codes the multipliers do not take.
    """
    fitting = "signed-symmetric" if is_signed else "unsigned-affine"
    if name == "auto":
        return SCHEMES[fitting]
    if name not in SCHEMES:
        raise ConfigError(unknown_name("quantization scheme", name, ["auto", *SCHEMES]))
    if name != fitting:
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
