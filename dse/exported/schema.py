"""The schema of an exported network, version 1: two files, `NAME.npz` (arrays) and `NAME.json` (all the rest).

The classes here are the JSON, key by key: `Document` is the whole text. Unknown keys are errors.

How a network is run. Images float32 `[n, C, H, W]`, preprocessed as `preprocessing` says, pass through `program`, one
node after another, in float32 and channels last. A node that is a layer turns its float input `v` into codes, sums
table entries, and rescales, per output channel `o`:

    x = clamp(round(v / x_scale) + x_zero_point)        codes of `dtype`; 1 / x_scale is rounded to float32, then
                                                        multiplied by; ties to even
    s[o] = SUM_k (T[x_k, w_ok] - w_zero_point[o] * x_k) + constant[o]                  in int32
    y[o] = scale[o] * (s[o] - slope[o] * SUM_k x_k) + bias[o]                          in float32, rounded at each step

`T` is the table of the multiplier that the operating point gives the layer; row = activation code, column = weight
code, in the order 0..255, or -128..127 for int8 codes. Padding positions have the code `x_zero_point` and pass through
the table; other modes of padding than "zeros" pad the float input by `float_padding` instead. A linear layer `[.., in]`
is a 1x1 convolution on images `[in, 1, 1]`. Weight codes are those that go into the table; `constant` and
`w_zero_point` belong to the weights before weight tuning.

Arrays of the `.npz` file, for layer `l`, operating point `k`, multiplier `m` and tensor `t`, all in index order:

    layers/<l>/weight          dtype [C_out, C_in/groups, kh, kw]; [out, in, 1, 1] of a linear layer
    layers/<l>/w_zero_point    int64 [C_out]
    layers/<l>/constant        int64 [C_out]
    layers/<l>/x_scale         float32 []
    layers/<l>/w_scale         float32 [C_out], value of a step of the weight codes in the exact network
    layers/<l>/bias            float32 [C_out], of the exact network
    points/<k>/<l>/scale       float32 [C_out], value of one unit of the sums
    points/<k>/<l>/bias        float32 [C_out]
    points/<k>/<l>/slope       float32 [C_out]; absent without sum compensation
    tables/<m>                 int32 [256, 256], T
    tensors/<t>                parameters, buffers and constants between the layers, any type
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "dse.exported_network"
VERSION = 1

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Dtype = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
Pair = tuple[Count, Count]
Sides = tuple[Index, Index, Index, Index]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ArrayRecord(_Record):
    """An array of the `.npz` file.

    Attributes:
        shape, dtype: numpy's; the type as text, such as "float32".
        is_channels_last: whether a tensor of four axes lies in memory with its channels last.
    """

    shape: tuple[Index, ...]
    dtype: Dtype
    is_channels_last: bool = False


class LayerRecord(_Record):
    """A layer that runs on codes; its index in `Document.layers` is `l` above.

    Attributes:
        name: qualified name in the network it came from.
        kind: "conv2d" or "linear".
        weight_shape: `[C_out, C_in/groups, kh, kw]` or `[out, in]`.
        output_shape: without the batch axis, of one call.
        dtype: of the codes of activations and weights.
        x_zero_point: the code of 0.
        stride, dilation: (vertical, horizontal).
        padding: (left, right, top, bottom), of codes.
        groups: of the convolution.
        padding_mode: "zeros", or a mode that pads the float input.
        float_padding: (left, right, top, bottom), used by other modes than "zeros".
        n_multiplications: of one image, over all calls of the layer.
    """

    name: str
    kind: Literal["conv2d", "linear"]
    weight_shape: tuple[Count, ...]
    output_shape: tuple[Count, ...]
    dtype: Literal["uint8", "int8"]
    x_zero_point: Annotated[int, Field(ge=-128, le=255)]
    stride: Pair
    padding: Sides
    dilation: Pair
    groups: Count
    padding_mode: Literal["zeros", "reflect", "replicate", "circular"]
    float_padding: Sides
    n_multiplications: Count


class ModuleRecord(_Record):
    """A module of torch.nn between layers, in eval mode.

    Attributes:
        kind: class of torch.nn, see `dse.exported.modules`.
        settings: arguments of its constructor, in the form of `dse.exported.values`.
        tensors: parameters and buffers by name: index `t` of the array.
    """

    kind: str
    settings: dict[str, Any]
    tensors: dict[str, Index]


class NodeRecord(_Record):
    """A step of the program.

    Attributes:
        name: of its value, unique.
        op: what it does with `target`:
            "input": the images.
            "constant": its only argument.
            "tensor": array `tensors/<target>`.
            "layer": the layer called `target`.
            "module": the module called `target`.
            "function": a function of torch, `operator` or `math`, by its public name.
            "method": a method of `torch.Tensor` by its name, called on the first argument.
            "attribute": an attribute of `torch.Tensor`, read from its only argument.
            "output": its only argument are the logits; the last node.
        target: see `op`; absent where it has no meaning.
        args, kwargs: in the form of `dse.exported.values`; they refer to earlier nodes.
    """

    name: str
    op: Literal["input", "constant", "tensor", "layer", "module", "function", "method", "attribute", "output"]
    target: str = ""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class MultiplierRecord(_Record):
    """A multiplier; its index in `Document.multipliers` is `m` above.

    Attributes:
        name: for people.
        hash: SHA-256 of the letter "s" or "u" and the table, int32 little-endian.
        is_signed: codes are -128..127.
        energy_rel: energy of one multiplication relative to the exact multiplier of the library; None if unknown.
        power_mw: None where it has no power at a clock.
    """

    name: str
    hash: Hash
    is_signed: bool
    energy_rel: float | None
    power_mw: float | None


class AccuracyRecord(_Record):
    """A measured accuracy.

    Attributes:
        accuracy: share of images whose label is among the `top` best classes.
        top: 1 for the best class alone.
        n_images: that it was measured on.
        images: which ones, as "report".
    """

    accuracy: Share
    top: Count
    n_images: Count
    images: str


class PointRecord(_Record):
    """An operating point; its index in `Document.points` is `k` above.

    Attributes:
        name: for people, such as "point 3 of runs/first".
        multipliers: index `m` by layer.
        energy_rel: of all multiplications, relative to the exact network; None if unknown.
        accuracy: where it is known.
    """

    name: str
    multipliers: tuple[Index, ...]
    energy_rel: float | None
    accuracy: AccuracyRecord | None


class Document(_Record):
    """The `.json` file.

    Attributes:
        schema_name: `SCHEMA`; the key is "schema".
        version: `VERSION`.
        dse_version: that wrote it.
        torch_version: likewise.
        network: name, for people.
        preprocessing: of the images, see `dse.datasets.preprocessing`.
        input_shape: (C, H, W) of the images that it was made with.
        n_classes: logits an image.
        layers, points, multipliers, modules, program: see their classes.
        arrays: every array of the `.npz` file by name.
        npz_sha256: of the whole `.npz` file.
    """

    schema_name: Annotated[str, Field(alias="schema")]
    version: int
    dse_version: str
    torch_version: str
    network: str
    preprocessing: str
    input_shape: tuple[Count, Count, Count]
    n_classes: Count
    layers: list[LayerRecord]
    points: list[PointRecord]
    multipliers: list[MultiplierRecord]
    modules: dict[str, ModuleRecord]
    program: list[NodeRecord]
    arrays: dict[str, ArrayRecord]
    npz_sha256: Hash
