"""How good the encoder is, beside simple methods, published recipes and itself with parts off."""
