"""Where data sets come from: files as they lie on disk, a room for each format."""
