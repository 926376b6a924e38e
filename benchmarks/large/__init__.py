"""A large index, built and served in bounded memory: what a user costs, and what many would."""
