"""What models predict and how they are judged, one file a task; no torch here."""
