"""The demo: a small convolutional network on 8x8 digits, its images and its configuration."""

from __future__ import annotations

from pathlib import Path

CONFIG = Path(__file__).parent / "assets" / "demo.toml"
