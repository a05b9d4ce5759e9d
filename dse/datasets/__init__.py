"""Datasets: readers of the standard formats, and calibration, search and report splits with fixed indices."""

from dse.datasets.dataset import Dataset, Part
from dse.datasets.loading import dataset_names, load_splits, read_dataset
from dse.datasets.preprocessing import Preprocessing
from dse.datasets.splits import Split, Splits, make_splits

__all__ = [
    "Dataset",
    "Part",
    "Preprocessing",
    "Split",
    "Splits",
    "dataset_names",
    "load_splits",
    "make_splits",
    "read_dataset",
]
