"""Parts that several task families share."""
