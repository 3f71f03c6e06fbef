"""Where runs are made: in processes of this machine, by Dask, or by Slurm. All of them call `harness.run.run`."""
