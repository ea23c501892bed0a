"""Reading videos, under the name that scripts of others import; the code is in :mod:`feel_steps.dataset.video_file`."""

from feel_steps.dataset.video_file import VideoError, VideoInfo, frame_at, probe, read_frames

__all__ = ["VideoError", "VideoInfo", "frame_at", "probe", "read_frames"]
