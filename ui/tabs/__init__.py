"""The tabs, in the order of the work: layout and events only, each `build(desk)`."""
