"""Tables on disk: schemas, reading and writing, provenance, and checks of whole runs."""
