"""What people see at a terminal: progress on stderr, tables on stdout. A file a topic of the commands."""
