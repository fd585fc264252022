"""Tests of a GPU, on the GPU that MLX computes on: ``python -m pytest -m gpu``. All other tests compute on the CPU."""
