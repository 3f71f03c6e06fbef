"""Tables of suites: one row per setup, one column per problem, from all records that belong there."""
