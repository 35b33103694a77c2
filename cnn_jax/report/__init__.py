"""Tables, figures, claims and a page of a study, rebuilt from its run folders and from nothing else."""
