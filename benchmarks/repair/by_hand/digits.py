"""Handwritten digits, for the scripts beside it."""

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits():
    """Pixels and labels to train on, then those to test with."""
    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels - pixels.mean()) / pixels.std()
    parts = train_test_split(pixels, labels, test_size=0.3, random_state=0, stratify=labels)
    x, x_test, y, y_test = (torch.as_tensor(part) for part in parts)
    return x.float(), y, x_test.float(), y_test
