"""What all studies share: tables, curves, claims and the page, rebuilt from run folders and from nothing else."""
