"""Learning problems: each turns a Config and a Dataset into a Task."""
