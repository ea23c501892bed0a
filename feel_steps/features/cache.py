"""A cache of extracted features, whose key is a video's bytes and the settings.

Names and places of files do not matter, so that a renamed video, or another run over the same ones, finds its features.
An entry is a features table of one video, under the name of its key; it can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import av
import cv2
import numpy as np

from feel_steps.dataset import video_clock, video_file, video_packets
from feel_steps.errors import InputError
from feel_steps.tables import source, tables

LIBRARIES = (av, cv2, np)  # another version may decode or measure otherwise
NETWORKS = {"transformers": "transformers", "ai_edge_litert": "ai-edge-litert"}  # module of an extractor: its package
READING = (video_clock, video_file, video_packets)  # modules that decide on the frames


class FeatureCache:
    """A folder of extracted features.

    Parameters
    ----------
    folder : path
        Made when the first features are kept.
    settings : mapping of str to str
        All that decides on the features, their :func:`program` included.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, str]) -> None:
        self.folder = Path(folder)
        self._settings = json.dumps(dict(settings), sort_keys=True).encode()

    def place(self, video: str | Path) -> Path:
        """Where the features of a video file are kept, whether there are any or not; reads the whole file."""
        with open(video, "rb") as file:
            content = hashlib.file_digest(file, "sha256")
        key = hashlib.sha256(content.digest() + self._settings).hexdigest()
        return self.folder / key[:2] / f"{key}.parquet"

    def get(self, place: Path) -> np.ndarray | None:
        """Features [T, D]; None if there are none, or if the file is damaged."""
        try:
            return tables.read(place, "features")["feature"]
        except (InputError, OSError):  # OSError: deleted at this very moment
            return None

    def put(self, place: Path, features: np.ndarray) -> None:
        """Keep features [T, D]."""
        columns = {"video_id": [place.stem] * len(features), "snippet": np.arange(len(features)), "feature": features}
        tables.write(place, "features", columns)


def program(extractor: Path) -> str:
    """SHA-256 of the modules that make an extractor's features, and of the versions of the libraries that they use.

    Parameters
    ----------
    extractor : path
        The file of its class. Of what it imports, modules of this folder count.
    """
    digest = hashlib.sha256()
    modules = [file for file in source.list_modules(extractor) if file.parent == source.PACKAGE / "features"]
    for module in [extractor, *modules, *(Path(str(module.__file__)) for module in READING)]:
        digest.update(module.read_bytes())
    for library in LIBRARIES:
        digest.update(f"{library.__name__} {library.__version__}\n".encode())
    digest.update(f"torch {version('torch')}\n".encode())  # imported by extractors of networks alone: it takes seconds
    for loaded in sorted(NETWORKS.keys() & sys.modules.keys()):  # an extractor that uses one has loaded it by now
        digest.update(f"{loaded} {version(NETWORKS[loaded])}\n".encode())
    return digest.hexdigest()
