"""Send a job to a Ray cluster that `ray up` or somebody else has started."""
