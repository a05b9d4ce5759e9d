from types import SimpleNamespace

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from dse.errors import NetworkError
from dse.exported.program import encode_program
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.testing.tiny import randomize, tiny_network

from .networks import SPLIT, Net, conv


def _integer(network, **options):
    return quantize_network(randomize(network), SPLIT, scheme=scheme_for(False), **options)


def _pooled(x):
    return x.mean((2, 3))


def test_nodes_of_a_network():
    program = encode_program(_integer(tiny_network()))
    assert [(node.op, node.target) for node in program.nodes] == [
        ("input", ""), ("layer", "conv1"), ("function", "torch.nn.functional.relu"), ("layer", "depthwise"),
        ("function", "torch.nn.functional.relu"), ("layer", "pointwise"), ("function", "torch.nn.functional.relu"),
        ("method", "mean"), ("layer", "linear"), ("output", ""),
    ]  # fmt: skip
    assert program.nodes[7].args == [{"node": "relu_2"}, {"tuple": [2, 3]}]
    assert not program.modules
    assert not program.tensors


def test_modules_and_tensors_are_kept_once():
    network = Net(lambda s, x: _pooled(s.act(s.other(s.a(x)) * s.act.weight[:, None, None])), a=conv(), act=nn.PReLU(2))
    network.other = network.act
    program = encode_program(_integer(network))
    assert [node.target for node in program.nodes if node.op == "module"] == ["act", "act"]
    assert program.modules["act"].tensors == {"weight": 0}
    assert [node.target for node in program.nodes if node.op == "tensor"] == ["0"]
    assert len(program.tensors) == 1


def test_modules_without_effect_are_dropped():
    network = Net(lambda s, x: _pooled(s.skip(s.drop(input=s.a(x)))), a=conv(), drop=nn.Dropout(), skip=nn.Identity())
    program = encode_program(_integer(network))
    assert [node.op for node in program.nodes] == ["input", "layer", "method", "output"]
    assert program.nodes[2].args[0] == {"node": "a"}


def test_layers_by_another_name_and_excluded_ones():
    network = Net(lambda s, x: _pooled(s.last(s.again(s.a(x)))), a=conv(), last=conv())
    network.again = network.a
    integer = _integer(network, exclude=["last"])
    program = encode_program(integer)
    assert [node.target for node in program.nodes if node.op == "layer"] == [integer.layers[0].name] * 2
    assert program.modules["last"].kind == "Conv2d"
    assert program.modules["last"].settings["padding"] == {"tuple": [1, 1]}


def test_attributes_and_further_arguments():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = conv()

        def forward(self, x, scale=2.0, mask=None):
            return self.a(x).reshape(x.shape[0], -1) * scale

    program = encode_program(_integer(Scaled()))
    ops = [(node.op, node.target, node.args) for node in program.nodes]
    assert ops[1] == ("constant", "", [2.0])
    assert ("attribute", "shape", [{"node": "x"}]) in ops
    assert ops[2][0] == "constant"


def _branching(s, x):
    return _pooled(s.a(x) if x.sum() < 1e9 else x)


def test_untraced():
    with pytest.raises(NetworkError, match="torch.fx cannot trace its `forward`"):
        encode_program(_integer(Net(_branching, a=conv())))


@fx.wrap
def _opaque(x):
    return x * 2


class _Leaf(nn.Module):
    __module__ = "torch.nn.modules.leaf"

    def forward(self, x):
        return x


REFUSED = {
    "function of the user": (lambda s, x: _opaque(s.a(x)), "node '_opaque' calls the function .*test_program._opaque"),
    "function of torch": (lambda s, x: torch.fft.fft(s.a(x)).real, "calls the function"),
    "attribute": (lambda s, x: s.a(x).real, "reads the attribute 'real'"),
    "method": (lambda s, x: s.a(x).cumprod(1), "calls the method 'cumprod'"),
    "module": (lambda s, x: s.leaf(s.a(x)), r"'leaf' \(node leaf\) is a torch.nn.modules.leaf._Leaf"),
    "hooked": (lambda s, x: s.hooked(s.a(x)), r"'hooked' \(node hooked\) has hooks"),
    "argument": (lambda s, x: F.relu(s.a(x).to(torch.device("meta"))), "node 'to' has an argument of type device"),
    "type of a tensor": (lambda s, x: s.a(x) * s.brain, "torch.bfloat16"),
}


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_refusals_name_the_node(case):
    forward, message = REFUSED[case]
    network = Net(forward, a=nn.ReLU(), leaf=_Leaf(), hooked=nn.Sigmoid()).eval()
    network.hooked.register_forward_hook(lambda *_: None)
    network.register_buffer("brain", torch.ones(2, 1, 1, dtype=torch.bfloat16))
    module = fx.GraphModule(network, fx.Tracer().trace(network))
    stand_in = SimpleNamespace(is_traced=True, module=module, layers=(), integer_layers=())
    with pytest.raises(NetworkError, match=message):
        encode_program(stand_in)
