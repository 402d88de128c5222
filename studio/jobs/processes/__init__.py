"""Processes: started, stopped and talked to, asked through folders, parked when memory is short, and what they keep loaded."""
