"""Tables, figures and comparisons made from records. This package reads records only and never imports torch."""
