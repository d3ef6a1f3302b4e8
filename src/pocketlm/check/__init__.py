"""What is wrong with labelled rows before anything is trained on them."""
