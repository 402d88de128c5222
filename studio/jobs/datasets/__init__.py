"""What is done for a dataset in other processes: captioning, check-ups, how much of its captions a base reads."""
