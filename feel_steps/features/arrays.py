"""Features that exist already, as arrays in a folder: copied into feature parts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from feel_steps.dataset.array_file import ArrayError, open_array, read_array
from feel_steps.dataset.arrays import common_length, list_arrays
from feel_steps.dataset.video_file import VideoError
from feel_steps.dataset.videos import Video
from feel_steps.errors import InputError


class Arrays:
    """Features of a folder of arrays, see :func:`feel_steps.dataset.arrays.import_arrays`.

    Parameters
    ----------
    root : path
        The folder.
    fps, window, stride
        What the features were made with.
    streams : sequence of str
        Sub-folders whose arrays are joined, side by side.
    key : str
        Name of the array in files that hold several; empty: they hold one.
    transposed : bool
        Whether the files hold [D, T].
    """

    view_family = ""  # the files do not say

    def __init__(
        self,
        *,
        root: str | Path | None,
        fps: float,
        window: int,
        stride: int,
        streams: Sequence[str] | None = None,
        key: str | None = None,
        transposed: bool = False,
    ) -> None:
        if root is None:
            raise InputError("extractor arrays needs --root, the folder that holds the arrays")
        self.stride, self.key, self.transposed = stride, key or None, transposed
        self.files = list_arrays(root, streams or (), links="anywhere")  # import has looked at the links
        self.settings: dict[str, Any] = {"key": key or "", "transposed": transposed}
        # of each, how many numbers it has, and its weight beside the others
        self.streams = {name: (self._dimension(files), 1.0) for name, files in self.files.items() if name}

    def _dimension(self, files: Mapping[str, Path]) -> int:
        """Numbers of a stream, by its first array that can be used; import has seen to it that all have as many."""
        for path in files.values():
            with suppress(ArrayError):
                return open_array(path, self.key, self.transposed).shape[1]
        raise InputError(f"{next(iter(files.values())).parent}: no array in it can be used; import the folder again")

    def extract(self, video: Video, advance: Callable[[int], None]) -> np.ndarray:
        """Read all streams side by side, cut to the shortest.

        Returns
        -------
        float32 [T, D]

        Raises
        ------
        VideoError
            A file cannot be read, or holds numbers that are NaN or infinite.
        """
        arrays = []
        for stream, files in self.files.items():
            if video.video_id not in files:
                raise VideoError(
                    f"no array in {stream or 'the folder'} any more; put it back, or import the folder again"
                )
            try:
                arrays.append(read_array(files[video.video_id], self.key, self.transposed))
            except ArrayError as error:
                raise VideoError(f"{files[video.video_id]}: {error}") from None
        lengths = [len(array) for array in arrays]
        T = common_length(lengths, f"video '{video.video_id}'")
        if max(lengths) > T:
            print(f"video '{video.video_id}': streams of {lengths} snippets, cut to {T}", file=sys.stderr)
        advance(T * self.stride)
        return np.concatenate([array[:T] for array in arrays], axis=1)
