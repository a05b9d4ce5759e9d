import pytest

from dse.errors import ConfigError
from dse.recovery.finetuning_settings import FinetuningSettings


def test_defaults_are_fine():
    settings = FinetuningSettings()
    assert not settings.has_gains([])
    assert settings.has_gains(["bn"])
    assert FinetuningSettings(private="affine").has_gains([])
    assert not FinetuningSettings(private="bias").has_gains(["bn"])
    assert FinetuningSettings(patience=None, seed=0, distillation=0, epochs=1).patience is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient": "smooth"}, "unknown gradient 'smooth': did you mean 'smoothed'"),
        ({"augmentation": "flop"}, "unknown augmentation 'flop': did you mean 'flip'"),
        ({"private": "batchnorm"}, "unknown private 'batchnorm'"),
        ({"distillation": 1.5}, "distillation = 1.5: expected a share from 0 to 1"),
        ({"distillation": float("nan")}, "distillation = nan"),
        ({"epochs": 0}, "epochs = 0: expected a positive number"),
        ({"batch_size": -1}, "batch_size = -1"),
        ({"learning_rate": 0.0}, "learning_rate = 0.0"),
        ({"affine_learning_rate": float("inf")}, "affine_learning_rate = inf"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"patience": 0}, "patience = 0"),
        ({"seed": -1}, "seed = -1: expected 0 or a positive number"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        FinetuningSettings(**changes)
