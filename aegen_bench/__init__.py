"""Autoencoder-based image generators, compared under one architecture, preprocessing and evaluation."""

from __future__ import annotations

__version__ = "0.1.0"
