"""Tab completion: scripts, and the names that are asked for."""
