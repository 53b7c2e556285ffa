"""The machine that jobs run on: threads and devices, leases of GPUs, forked jobs."""
