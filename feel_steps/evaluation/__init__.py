"""What a run is worth, measured against annotations."""
