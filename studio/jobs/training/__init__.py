"""Inside the process of a run: what happens before, between and after the steps of training."""
