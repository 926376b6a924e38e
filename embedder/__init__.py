"""Events to vectors: featurizer, encoder, training, evaluation. The only torch."""
