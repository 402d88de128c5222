"""The screens: a view of the workspace in the browser. No torch, no decoded picture, no truth kept in widgets."""
