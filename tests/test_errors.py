"""dse.errors: every error is a DseError and the builtin that callers would expect; unknown names are explained."""

import pytest

from dse import errors


@pytest.mark.parametrize(
    ("leaf", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.MultiplierError, ValueError),
        (errors.ShapeError, ValueError),
        (errors.DataError, ValueError),
        (errors.NetworkError, ValueError),
        (errors.UnsupportedLayerError, NotImplementedError),
        (errors.RunError, RuntimeError),
        (errors.MissingDependencyError, ImportError),
    ],
)
def test_leaves_are_builtins_too(leaf, builtin):
    assert issubclass(leaf, errors.DseError)
    assert issubclass(leaf, builtin)


def test_unknown_name_without_a_match_lists_what_is_known():
    assert errors.unknown_name("observer", "zzz", ["mse", "minmax"]) == "unknown observer 'zzz': Known: minmax, mse"
