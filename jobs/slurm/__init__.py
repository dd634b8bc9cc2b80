"""Run a job on the nodes of a Slurm allocation: submission, what runs in the allocation, what runs on each node."""
