"""Version 1 of the canonical types, one file per family."""
