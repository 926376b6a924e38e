"""How good the vectors are: metrics with intervals, floors to beat, and honest protocols."""
