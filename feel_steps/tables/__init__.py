"""Tables on disk: their schemas, reading and writing, where they come from, and whether they are intact."""
