"""Before a run: what it takes in memory, time and disk, and which recipes and settings suit its pictures."""
