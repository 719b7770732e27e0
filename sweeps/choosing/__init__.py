"""After the search: candidates over seeds, the winner, its test figures, its export."""
