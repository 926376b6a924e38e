"""One module for each library that is measured; they need it and NumPy, nothing of ours."""
