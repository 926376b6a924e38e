"""Vectors beyond one machine: a build's entries as a collection of a Milvus server."""
