"""Runs as one HTML page: `contents` and its parts say what it shows, `html` fills `page` with it."""
