"""How fast the nearest vectors are found, beside other libraries and databases."""
