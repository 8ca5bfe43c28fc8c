"""Imports a framework that cannot be imported."""

import torch

print(torch)
