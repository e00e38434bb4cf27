"""The temporal corpus of Dogwood, said in declared facts and Rego, and judged by the fold and by OPA."""
