"""Which backend multiplies."""

import pytest

from dse.errors import ConfigError
from dse.simulation.native_library import load
from dse.sparse.dcsr import encode
from dse.sparse.native import NativeProduct
from dse.sparse.products import prepare_product
from dse.sparse.reference import ReferenceProduct


def test_backends(sparse_matrix, monkeypatch):
    code = encode(sparse_matrix((20, 30), 0.3))
    assert isinstance(prepare_product(code, "reference"), ReferenceProduct)
    with pytest.raises(ConfigError, match="did you mean 'native'"):
        prepare_product(code, "nativ")
    monkeypatch.setattr("dse.sparse.products.load", lambda: None)
    assert isinstance(prepare_product(code), ReferenceProduct)
    with pytest.raises(ConfigError, match="no native library"):
        prepare_product(code, "native")


def test_the_native_library_is_taken_where_it_is(sparse_matrix):
    if load() is None:
        pytest.skip("no native library")
    assert isinstance(prepare_product(encode(sparse_matrix((20, 30), 0.3))), NativeProduct)
