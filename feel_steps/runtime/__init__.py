"""Devices, GPUs and progress: what the steps run on."""
