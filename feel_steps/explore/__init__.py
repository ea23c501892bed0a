"""Work with a finished run: predict on new videos, name clusters, export detections, inspect features."""
