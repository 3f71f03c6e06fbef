"""What several setups are made of."""
