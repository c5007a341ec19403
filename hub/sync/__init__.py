"""Reading what systems do not tell: polls by cadence, cursors saved with the data."""
