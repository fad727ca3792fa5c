"""Tests of the modes of estimation."""
