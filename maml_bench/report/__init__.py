"""Reports: records in, tables, figures and comparisons out. Imports nothing above the record, and no torch."""
