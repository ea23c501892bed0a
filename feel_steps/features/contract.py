"""What a feature part records about itself: how its features were made, and of how much video."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from feel_steps.tables import tables

# what features of any extractor may have
COMMON = ("extractor", "source", "fps", "window", "stride", "dimension", "view_family", "streams", "scaled")
EXISTING = ("cola", "arrays")  # extractors that read features of others
AMOUNTS = ("skipped", "snippets", "seconds")  # differ from part to part


@dataclass(frozen=True)
class Contract:
    """The metadata that :func:`feel_steps.features.extract.extract_part` writes, read.

    Attributes
    ----------
    made : dict of str to str
        How the features were made, the same in all parts of a run: :data:`COMMON` and the extractor's own settings, as
        they are written. A part without a video has no dimension; features of unknown origin say nothing.
    skipped : dict of str to str
        Videos that were left out, and why.
    seconds : float
        Of video.
    version : str, optional
        Of the package that wrote them.
    """

    made: dict[str, str]
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    version: str | None = None

    @property
    def extractor(self) -> str:
        """Empty where it is unknown."""
        return self.made.get("extractor", "")

    @property
    def exists(self) -> bool:
        """Whether the features existed before the run, and were not made from its videos."""
        return self.extractor in EXISTING

    @property
    def timing(self) -> tuple[float, int, int]:
        """Frames per second, frames of a snippet, and frames from the start of one snippet to the next."""
        return float(self.made["fps"]), int(self.made["window"]), int(self.made["stride"])

    @property
    def dimension(self) -> int:
        """Numbers of a snippet, as extracted."""
        return int(self.made["dimension"])

    @property
    def view_family(self) -> str:
        """Which view of a video suits the features, "network" or "motion"; empty where it is unknown."""
        return self.made.get("view_family", "")

    @property
    def streams(self) -> dict[str, tuple[int, float]]:
        """Numbers and weight of each stream, in the order in which they lie side by side before they are scaled."""
        if "streams" not in self.made:
            return {"features": (self.dimension, 1.0)}
        return {name: (size, weight) for name, (size, weight) in json.loads(self.made["streams"]).items()}

    @property
    def scaled(self) -> bool:
        """Whether these features went through the scale step."""
        return "scaled" in self.made

    @property
    def settings(self) -> dict[str, str]:
        """The extractor's own."""
        return {key: value for key, value in self.made.items() if key not in COMMON}


def read_contract(part: str | Path) -> Contract:
    """Read the contract of a features table.

    Raises
    ------
    InputError
        The file is missing, truncated or rewritten by another program.
    """
    about = tables.read_metadata(part)
    # its provenance, feel.*, differs from part to part as well
    made = {key: value for key, value in about.items() if key not in AMOUNTS and not key.startswith("feel.")}
    skipped, seconds = json.loads(about.get("skipped", "{}")), float(about.get("seconds", 0))
    return Contract(made, skipped, seconds, about.get("feel.version"))
