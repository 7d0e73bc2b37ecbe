"""The steps of a graph, executed in batches and kept in the store."""
