"""Study 1: the sweep over soft group masks, its controls and its verdicts."""
