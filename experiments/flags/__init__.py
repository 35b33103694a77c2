"""What pages share: their flags, a file for each kind, and the launcher."""
