"""What the rules call: a package a step of the workflow; imports go to earlier steps only."""
