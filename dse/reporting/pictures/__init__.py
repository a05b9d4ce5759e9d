"""Pictures with matplotlib, a file a kind: a renderer that draws plain data on axes, and the data as a table."""
