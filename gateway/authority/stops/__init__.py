"""Orders of operators to refuse calls until a resumption. `model` has the matching of names, and `switch` the orders in force."""
