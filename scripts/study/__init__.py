"""What the rules call: data sets, suites, scores, statistics, gates and figures."""
