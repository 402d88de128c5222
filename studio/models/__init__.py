"""Base models: found, recognised, listed, sized and planned for by their headers; no weights are read."""
