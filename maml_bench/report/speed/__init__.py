"""Speed records: races against other libraries, the growth of the cost of a step, and the tables of both."""
