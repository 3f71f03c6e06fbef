"""Parts that several setups share."""
