"""The machine: is it fit for the work; and processes that die with whoever started them."""
