"""FEEL: unsupervised temporal action localization by self-paced iteration (arXiv 2312.07384), one module a step."""

__version__ = "0.1.0"
