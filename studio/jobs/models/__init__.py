"""Base models and captioners found on this machine or fetched from the hub, in processes of their own."""
