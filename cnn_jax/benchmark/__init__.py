"""Our training step timed beside another framework's: two processes that take turns on the machine."""
