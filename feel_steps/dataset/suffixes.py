"""Which files of a data set's folder are read, as far as their suffix tells."""

from __future__ import annotations

from pathlib import PurePath

_VIDEO = (
    "mp4 m4v mov qt mkv webm avi divx flv f4v wmv asf mpg mpeg mpe m1v m2v vob ts mts m2ts m2t trp 3gp 3g2 ogv ogm mxf "
    "rm rmvb dv dav h264 264 avc hevc h265 265 mjpeg mjpg ivf obu nut y4m wtv mod tod insv"
)
# texts, annotations, subtitles, small copies and stills of cameras, sound, archives, arrays
_BESIDE = (
    "txt md rst pdf doc docx odt xls xlsx ods html htm log nfo sh py ipynb description "
    "json jsonl csv tsv xml yaml yml toml ini db lnk url tmp bak part pickle pkl mat "
    "eaf pfsx etf textgrid boris anvil mangold srt vtt ass ssa sub idx lrv lrf thm "
    "jpg jpeg png bmp webp tif tiff svg heic mp3 wav flac m4a aac opus "
    "zip gz tar 7z rar npy npz parquet h5 hdf5 pt pth safetensors"
)
ARRAY = frozenset([".npy", ".npz", ".pt", ".pth", ".safetensors", ".h5", ".hdf5"])
VIDEO = frozenset(f".{suffix}" for suffix in _VIDEO.split())
BESIDE = frozenset(f".{suffix}" for suffix in _BESIDE.split())


def may_be_video(name: str | PurePath) -> bool:
    """Whether a file is opened to see if it is a video."""
    return PurePath(name).suffix.lower() not in BESIDE


def is_called_video(name: str | PurePath) -> bool:
    """Whether a file has a video's suffix. If it cannot be read, it counts as damaged; other files are ignored."""
    return PurePath(name).suffix.lower() in VIDEO
